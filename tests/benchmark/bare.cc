#include "tests/benchmark/bare.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "absl/strings/str_cat.h"

#if defined(__x86_64__) || defined(__aarch64__)
#define TREEKILL_BENCH_CAN_SHARE 1
// The one instruction sequence that C cannot express; of lib/treekill/kernel.
extern "C" long treekill_clone3_entry(clone_args* arguments, size_t size,
                                      void (*run)(void*), void* argument);
#endif

namespace treekill::bench {
namespace {

constexpr int kPatienceMs = 60'000;

struct Program {
  const char* path;
  const char* const* argv;
};

// syscall(2) and not glibc's wrappers: sanitizers intercept those.
[[noreturn]] void Exec(void* argument) {
  const Program* program = static_cast<const Program*>(argument);
  syscall(SYS_setpgid, 0, 0);
  syscall(SYS_execve, program->path, program->argv, environ);
  for (;;) syscall(SYS_exit_group, 127);
}

absl::Status Failure(const char* call) {
  return absl::ErrnoToStatus(errno, call);
}

void Close(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

}  // namespace

BareCgroup::~BareCgroup() {
  if (!path_.empty()) {
    (void)Kill();
    (void)AwaitEmpty();
    (void)Reap(-SIGKILL);
    (void)Remove();
  }
  for (int* fd : {&directory_, &kill_, &events_, &pidfd_}) Close(*fd);
}

absl::Status BareCgroup::Make(const std::string& parent) {
  static int number = 0;
  std::string path =
      absl::StrCat(parent, "/treekill-benchmark-", getpid(), "-", ++number);
  if (mkdir(path.c_str(), 0755) < 0) return Failure("mkdir");
  path_ = path;
  directory_ = open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory_ < 0) return Failure("open of a cgroup");
  kill_ = openat(directory_, "cgroup.kill", O_WRONLY | O_CLOEXEC);
  if (kill_ < 0) return Failure("open of cgroup.kill");
  events_ = openat(directory_, "cgroup.events", O_RDONLY | O_CLOEXEC);
  return events_ < 0 ? Failure("open of cgroup.events") : absl::OkStatus();
}

absl::Status BareCgroup::Start(const char* path, const char* const* argv,
                               Memory memory) {
  Program program{path, argv};
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP | CLONE_VFORK | CLONE_PIDFD;
  arguments.exit_signal = SIGCHLD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd_);
  arguments.cgroup = static_cast<uint64_t>(directory_);
  long pid = 0;
#ifdef TREEKILL_BENCH_CAN_SHARE
  if (memory == Memory::kShared) {
    alignas(64) static char stack[64 * 1024];
    arguments.flags |= CLONE_VM;
    arguments.stack = reinterpret_cast<uintptr_t>(stack);
    arguments.stack_size = sizeof(stack);
    pid = treekill_clone3_entry(&arguments, sizeof(arguments), Exec, &program);
    if (pid >= 0) return absl::OkStatus();
    return absl::ErrnoToStatus(static_cast<int>(-pid), "clone3");
  }
#else
  (void)memory;
#endif
  pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (pid == 0) Exec(&program);
  return pid < 0 ? Failure("clone3") : absl::OkStatus();
}

absl::Status BareCgroup::Kill() {
  return write(kill_, "1", 1) == 1 ? absl::OkStatus()
                                   : Failure("write to cgroup.kill");
}

absl::Status BareCgroup::AwaitEmpty() {
  for (;;) {
    char text[64] = {};
    if (pread(events_, text, sizeof(text) - 1, 0) < 0) {
      return Failure("pread of cgroup.events");
    }
    if (strstr(text, "populated 0") != nullptr) return absl::OkStatus();
    pollfd change{events_, POLLPRI, 0};
    int ready = poll(&change, 1, kPatienceMs);
    if (ready == 0) return absl::DeadlineExceededError("still populated");
    if (ready < 0 && errno != EINTR) return Failure("poll");
  }
}

absl::Status BareCgroup::Reap(int wanted) {
  if (pidfd_ < 0) return absl::OkStatus();
  siginfo_t end = {};
  while (waitid(P_PIDFD, static_cast<id_t>(pidfd_), &end, WEXITED) < 0) {
    if (errno != EINTR) return Failure("waitid");
  }
  Close(pidfd_);
  int got = end.si_code == CLD_EXITED ? end.si_status : -end.si_status;
  if (got == wanted) return absl::OkStatus();
  return absl::UnknownError(
      absl::StrCat("the command ended with ", got, ", not ", wanted));
}

// Its members may be dead, but not yet gone from it.
absl::Status BareCgroup::Remove() {
  constexpr int kPauseUs = 100;
  for (int tries = 0; rmdir(path_.c_str()) < 0; ++tries) {
    bool hopeless = tries > kPatienceMs * 1000 / kPauseUs;
    if (errno != EBUSY || hopeless) return Failure("rmdir");
    usleep(kPauseUs);
  }
  path_.clear();
  for (int* fd : {&directory_, &kill_, &events_}) Close(*fd);
  return absl::OkStatus();
}

}  // namespace treekill::bench
