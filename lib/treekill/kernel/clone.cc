#include "treekill/kernel/clone.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

#if defined(__x86_64__) || defined(__aarch64__)
#define TREEKILL_HAVE_CLONE_ENTRY 1

// clone_entry.S. Each returns the pid, or -errno, in the parent; calls
// `run(argument)` on the new stack in the child.
extern "C" long treekill_clone3_entry(clone_args* arguments, size_t size,
                                      void (*run)(void*), void* argument);
extern "C" long treekill_clone_entry(unsigned long flags, void* stack_end,
                                     int* pidfd, void* child_tid,
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

// Of the two system calls the second one knows no cgroup.
enum class CloneCall { kClone3, kClone };

const char* NameOf(CloneCall call) {
  return call == CloneCall::kClone3 ? "clone3" : "clone";
}

// Is it that clone3 is not there, that a seccomp filter answers in its place,
// or that it does not know a cgroup (before Linux 5.7)?
bool MeansNoClone3(long result) {
  return result == -ENOSYS || result == -EPERM || result == -E2BIG ||
         result == -EINVAL;
}

#ifdef TREEKILL_HAVE_CLONE_ENTRY
long CloneOnStack(CloneCall call, clone_args* arguments, void (*run)(void*),
                  void* argument) {
  if (call == CloneCall::kClone3) {
    return treekill_clone3_entry(arguments, kCloneArgsSize, run, argument);
  }
  return treekill_clone_entry(
      arguments->flags | arguments->exit_signal,
      reinterpret_cast<void*>(arguments->stack + arguments->stack_size),
      reinterpret_cast<int*>(arguments->pidfd),
      reinterpret_cast<void*>(arguments->child_tid), run, argument);
}

long CloneSharingMemory(CloneCall call, clone_args* arguments,
                        const ChildPlan& plan, ChildFailure* failure) {
  constexpr size_t kGuard = 64 * 1024;  // the largest page size of aarch64
  constexpr size_t kStack = 64 * 1024;
  Mapping stack(kStack, MAP_PRIVATE | MAP_STACK, kGuard);
  if (!stack.valid()) return -errno;
  arguments->flags |= CLONE_VM;
  arguments->stack = reinterpret_cast<uintptr_t>(stack.address());
  arguments->stack_size = stack.size();
  ChildEntry entry{&plan, failure};
  return CloneOnStack(call, arguments, RunChildEntry, &entry);
}
#endif

// Without CLONE_VM it is safe to return from syscall() twice.
long CloneHere(CloneCall call, const clone_args& arguments) {
  long pid;
  if (call == CloneCall::kClone3) {
    pid = syscall(SYS_clone3, &arguments, kCloneArgsSize);
  } else {
    // The child's tid and TLS, which change places by architecture, are unused.
    pid = syscall(SYS_clone, arguments.flags | arguments.exit_signal, 0,
                  arguments.pidfd, 0, 0);
  }
  return pid < 0 ? -errno : pid;
}

// The one page that is shared all the same brings the failure back.
long CloneCopying(CloneCall call, const clone_args& arguments,
                  const ChildPlan& plan, ChildFailure* failure) {
  Mapping page(sizeof(ChildFailure), MAP_SHARED, 0);
  if (!page.valid()) return -errno;
  ChildFailure* shared = new (page.address()) ChildFailure;
  long pid = CloneHere(call, arguments);
  if (pid == 0) RunChild(plan, shared);
  if (pid > 0) *failure = *shared;
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
    case EACCES:
      return "cgroup.procs of the cgroup that this process and the new one "
             "have in common must be writable";
    case EBUSY:
      return "the cgroup has controllers enabled for its children";
    case EOPNOTSUPP:
      return "the cgroup is threaded, or below one that is (cgroup.type): "
             "start treekill in another one";
    case EAGAIN:
      return "a limit on the number of processes is reached (ulimit -u, "
             "pids.max)";
    default:
      return "";
  }
}

absl::Status CloneFailure(int error, const std::string& call, bool to_cgroup) {
  return WithHint(ErrnoStatus(error, call, "no new process"),
                  to_cgroup || error == EAGAIN ? HintFor(error) : "");
}

// Returns the pid or -errno.
long TryClone(CloneCall call, const ChildPlan& plan, int cgroup_fd,
              CloneForm form, Child* child) {
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | CLONE_VFORK;
  arguments.exit_signal = SIGCHLD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  if (cgroup_fd >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(cgroup_fd);
  }
  if (FaultInjected(NameOf(call), cgroup_fd >= 0 ? "cgroup" : "")) {
    return -errno;
  }
  ScopedBlockAllSignals block;
  long pid;
#ifdef TREEKILL_HAVE_CLONE_ENTRY
  pid = form == CloneForm::kCopy
            ? CloneCopying(call, arguments, plan, &child->failure)
            : CloneSharingMemory(call, &arguments, plan, &child->failure);
#else
  pid = CloneCopying(call, arguments, plan, &child->failure);
#endif
  if (pid < 0) return pid;
  child->pid = static_cast<pid_t>(pid);
  child->pidfd = AboveStandardStreamsIfPossible(pidfd);
  return pid;
}

// Returns the pid or -errno.
long TryCloneParked(CloneCall call, ParkedMemory* memory, Child* child) {
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  if (FaultInjected(NameOf(call), "parked")) return -errno;
  ScopedBlockAllSignals block;
  long pid;
#ifdef TREEKILL_HAVE_CLONE_ENTRY
  arguments.flags |= CLONE_VM | CLONE_CHILD_CLEARTID;
  arguments.child_tid = reinterpret_cast<uintptr_t>(&memory->busy);
  arguments.stack = reinterpret_cast<uintptr_t>(memory->stack);
  arguments.stack_size = sizeof(memory->stack);
  memory->entry = {&memory->plan, &memory->failure};
  pid = CloneOnStack(call, &arguments, RunChildEntry, &memory->entry);
#else
  pid = CloneHere(call, arguments);
  if (pid == 0) RunChild(memory->plan, &memory->failure);
#endif
  if (pid < 0) return pid;
  child->pid = static_cast<pid_t>(pid);
  child->pidfd = AboveStandardStreamsIfPossible(pidfd);
  return pid;
}

// Returns the pid or -errno.
long TryCloneHelper(CloneCall call, HelperMemory* memory, Child* child) {
#ifdef TREEKILL_HAVE_CLONE_ENTRY
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | CLONE_VM | CLONE_FILES;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  arguments.stack = reinterpret_cast<uintptr_t>(memory->stack);
  arguments.stack_size = sizeof(memory->stack);
  if (FaultInjected(NameOf(call), "helper")) return -errno;
  ScopedBlockAllSignals block;
  long pid = CloneOnStack(call, &arguments, memory->run, memory->argument);
  if (pid < 0) return pid;
  child->pid = static_cast<pid_t>(pid);
  child->pidfd = AboveStandardStreamsIfPossible(pidfd);
  return pid;
#else
  (void)call;
  (void)memory;
  (void)child;
  return -EOPNOTSUPP;
#endif
}

// By clone(2) where there is no clone3(2). `attempt` returns the pid or -errno.
template <typename Memory>
absl::StatusOr<Child> CloneByEither(long (*attempt)(CloneCall, Memory*, Child*),
                                    Memory* memory) {
  Child child;
  CloneCall call = CloneCall::kClone3;
  long pid = attempt(call, memory, &child);
  if (MeansNoClone3(pid)) {
    call = CloneCall::kClone;
    pid = attempt(call, memory, &child);
  }
  if (pid >= 0) return child;
  return CloneFailure(static_cast<int>(-pid), NameOf(call),
                      /*to_cgroup=*/false);
}

// A child that gave up before it was where it was to be.
absl::StatusOr<Child> AfterFailure(Child child, bool to_cgroup) {
  absl::Status reaped = ReapChild(child.pidfd.get());
  if (!reaped.ok()) return reaped;
  if (child.failure.stage != ChildStage::kCgroup) return child;
  return WithContext(CloneFailure(child.failure.error, "write", to_cgroup),
                     "cannot move it to its cgroup (cgroup.procs)");
}

}  // namespace

absl::StatusOr<Child> Clone(const ChildPlan& plan, int cgroup_fd,
                            CloneForm form) {
  bool to_cgroup = cgroup_fd >= 0;
  Child child;
  CloneCall call = CloneCall::kClone3;
  long pid = TryClone(call, plan, cgroup_fd, form, &child);
  if (MeansNoClone3(pid)) {
    call = CloneCall::kClone;
    ChildPlan joining = plan;
    UniqueFd procs;
    if (to_cgroup) {
      absl::StatusOr<UniqueFd> opened = OpenFile(
          cgroup_fd, "cgroup.procs", O_WRONLY, "the new cgroup's cgroup.procs");
      if (!opened.ok()) return opened.status();
      procs = *std::move(opened);
      joining.cgroup_procs_fd = procs.get();
    }
    pid = TryClone(call, joining, /*cgroup_fd=*/-1, form, &child);
  }
  if (pid < 0) {
    return CloneFailure(static_cast<int>(-pid), NameOf(call), to_cgroup);
  }
  if (child.failure.stage == ChildStage::kNone) return child;
  return AfterFailure(std::move(child), to_cgroup);
}

absl::Status ProbeCloneIntoCgroup() {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  // What is no descriptor is looked at only where cgroups are known.
  arguments.cgroup = INT_MAX;
  long result = FaultInjected("clone3", "cgroup")
                    ? -errno
                    : CloneHere(CloneCall::kClone3, arguments);
  // It cannot be that there is a child.
  if (result == 0) _exit(127);
  if (result == -EBADF) return absl::OkStatus();
  return ErrnoStatus(static_cast<int>(-result), "clone3",
                     "no process can be born in another cgroup");
}

absl::StatusOr<Child> CloneParked(ParkedMemory* memory) {
  absl::StatusOr<Child> child = CloneByEither(TryCloneParked, memory);
  if (!child.ok()) return child;
  // By us, so that it is so before we go on, and need not wait for the child.
  if (memory->plan.new_process_group) setpgid(child->pid, child->pid);
  return child;
}

absl::StatusOr<Child> CloneHelper(HelperMemory* memory) {
  return CloneByEither(TryCloneHelper, memory);
}

}  // namespace treekill::kernel
