#include "treekill/kernel/clone.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

#if defined(__x86_64__) || defined(__aarch64__)
#define TREEKILL_HAVE_CLONE_ENTRY 1

// clone_entry.S. Returns the pid, or -errno, in the parent; calls
// `run(argument)` on the new stack in the child.
extern "C" long treekill_clone3_entry(clone_args* arguments, size_t size,
                                      void (*run)(void*), void* argument);
#endif

namespace treekill::kernel {
namespace {

// CLONE_ARGS_SIZE_VER2: the first version with a cgroup. A smaller size with
// CLONE_INTO_CGROUP is EINVAL.
constexpr size_t kCloneArgsSize = 88;
static_assert(offsetof(clone_args, cgroup) + sizeof(uint64_t) ==
              kCloneArgsSize);

// Anonymous memory, the lowest `guard` bytes of which fault: the overflow of a
// stack must not run into the host's heap.
class Mapping final {
 public:
  Mapping(size_t size, int flags, size_t guard)
      : size_(size + guard),
        address_(mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                      flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (valid() && guard > 0) mprotect(address_, guard, PROT_NONE);
  }
  ~Mapping() {
    if (valid()) munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool valid() const { return address_ != MAP_FAILED; }
  void* address() const { return address_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  void* address_;
};

#ifdef TREEKILL_HAVE_CLONE_ENTRY
long CloneSharingMemory(clone_args* arguments, const ChildPlan& plan,
                        ChildFailure* failure) {
  constexpr size_t kGuard = 64 * 1024;  // the largest page size of aarch64
  constexpr size_t kStack = 64 * 1024;
  Mapping stack(kStack, MAP_PRIVATE | MAP_STACK, kGuard);
  if (!stack.valid()) return -errno;
  arguments->flags |= CLONE_VM;
  arguments->stack = reinterpret_cast<uintptr_t>(stack.address());
  arguments->stack_size = stack.size();
  ChildEntry entry{&plan, failure};
  return treekill_clone3_entry(arguments, kCloneArgsSize, RunChildEntry,
                               &entry);
}
#endif

// Without CLONE_VM it is safe to return from syscall() twice. The one page
// that is shared all the same brings the failure back.
long CloneCopying(clone_args* arguments, const ChildPlan& plan,
                  ChildFailure* failure) {
  Mapping page(sizeof(ChildFailure), MAP_SHARED, 0);
  if (!page.valid()) return -errno;
  ChildFailure* shared = new (page.address()) ChildFailure;
  long pid = syscall(SYS_clone3, arguments, kCloneArgsSize);
  if (pid < 0) return -errno;
  if (pid == 0) RunChild(plan, shared);
  *failure = *shared;
  return pid;
}

// A low number is bad; to lose hold of the child would be worse.
UniqueFd AboveStandardStreamsIfPossible(int pidfd) {
  UniqueFd held(pidfd);
  if (pidfd <= STDERR_FILENO) {
    int moved = fcntl(pidfd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved >= 0) held.reset(moved);
  }
  return held;
}

std::string HintFor(int error) {
  switch (error) {
    case ENOSYS:
    case EPERM:
    case E2BIG:
    case EINVAL:
      return "clone3 with CLONE_INTO_CGROUP needs Linux 5.7 or newer and a "
             "seccomp filter that lets it through";
    case EACCES:
      return "cgroup.procs of the cgroup that this process and the new one "
             "have in common must be writable";
    case EBUSY:
      return "the cgroup has controllers enabled for its children";
    case EOPNOTSUPP:
      return "the cgroup is threaded, or below one that is";
    case EAGAIN:
      return "a limit on the number of processes is reached (ulimit -u, "
             "pids.max)";
    default:
      return "";
  }
}

}  // namespace

absl::StatusOr<Child> Clone(const ChildPlan& plan, int cgroup_fd,
                            CloneForm form) {
  Child child;
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | CLONE_VFORK;
  arguments.exit_signal = SIGCHLD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  if (cgroup_fd >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(cgroup_fd);
  }
  long pid = 0;
  if (FaultInjected("clone3", cgroup_fd >= 0 ? "cgroup" : "")) {
    pid = -errno;
  } else {
    ScopedBlockAllSignals block;
#ifdef TREEKILL_HAVE_CLONE_ENTRY
    pid = form == CloneForm::kCopy
              ? CloneCopying(&arguments, plan, &child.failure)
              : CloneSharingMemory(&arguments, plan, &child.failure);
#else
    pid = CloneCopying(&arguments, plan, &child.failure);
#endif
  }
  if (pid < 0) {
    int error = static_cast<int>(-pid);
    return WithHint(ErrnoStatus(error, "clone3", "no new process"),
                    cgroup_fd >= 0 ? HintFor(error) : "");
  }
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = AboveStandardStreamsIfPossible(pidfd);
  if (child.failure.stage != ChildStage::kNone) {
    absl::Status reaped = ReapChild(child.pidfd.get());
    if (!reaped.ok()) return reaped;
  }
  return child;
}

absl::StatusOr<Child> CloneParked(ParkedMemory* memory) {
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  long pid = 0;
  if (FaultInjected("clone3", "parked")) {
    pid = -errno;
  } else {
    ScopedBlockAllSignals block;
#ifdef TREEKILL_HAVE_CLONE_ENTRY
    arguments.flags |= CLONE_VM | CLONE_CHILD_CLEARTID;
    arguments.child_tid = reinterpret_cast<uintptr_t>(&memory->busy);
    arguments.stack = reinterpret_cast<uintptr_t>(memory->stack);
    arguments.stack_size = sizeof(memory->stack);
    memory->entry = {&memory->plan, &memory->failure};
    pid = treekill_clone3_entry(&arguments, kCloneArgsSize, RunChildEntry,
                                &memory->entry);
#else
    pid = syscall(SYS_clone3, &arguments, kCloneArgsSize);
    if (pid < 0) pid = -errno;
    if (pid == 0) RunChild(memory->plan, &memory->failure);
#endif
  }
  if (pid < 0) {
    int error = static_cast<int>(-pid);
    return WithHint(ErrnoStatus(error, "clone3", "no new process"),
                    HintFor(error));
  }
  Child child;
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = AboveStandardStreamsIfPossible(pidfd);
  // By us, so that it is so before we go on, and need not wait for the child.
  if (memory->plan.new_process_group) setpgid(child.pid, child.pid);
  return child;
}

}  // namespace treekill::kernel
