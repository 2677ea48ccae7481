// What a new process does between clone and exec.
//
// The child may share the parent's memory (CLONE_VM), and the parent may have
// other threads holding any lock, or go on itself. So all of it is in child.cc,
// which calls nothing but the kernel: no allocation, no lock, no stdio, no
// exception, no errno. Everything that it needs is laid out here before the
// clone.
#ifndef TREEKILL_KERNEL_CHILD_H_
#define TREEKILL_KERNEL_CHILD_H_

#include <sys/types.h>

#include <cstdint>

#include "treekill/kernel/signals.h"

namespace treekill::kernel {

// Makes descriptor `to` of the child a copy of the parent's `from`.
struct FdMove {
  int from = -1;
  int to = -1;
};

// setrlimit(2).
struct ChildLimit {
  int resource = 0;
  uint64_t soft = 0;
  uint64_t hard = 0;
};

// For a file without a header that the kernel knows.
constexpr char kShell[] = "/bin/sh";

// The longest pid, in decimal.
constexpr int kPidDigits = 10;

// What to do before exec, in the order of the members. All pointers belong to
// the caller and must live until the clone has returned; for CloneParked(),
// until the child has execed or is dead.
struct ChildPlan {
  // Waits until `park_fd` is readable or `park_ms` are over (-1: never), called
  // `park_name` meanwhile (at most 15 bytes). -1: does not.
  int park_fd = -1;
  int park_ms = 0;
  const char* park_name = nullptr;
  // Meanwhile it is killed when the thread that has cloned it ends; `parent` is
  // set.
  bool park_bound = false;

  // A descriptor of a cgroup.procs that the child moves itself by; -1: does
  // not.
  int cgroup_procs_fd = -1;

  // setpgid(0, 0); or with `process_group` not 0, setpgid(0, process_group).
  bool new_process_group = false;
  pid_t process_group = 0;
  // setsid(); it makes a new process group, too.
  bool new_session = false;

  // Sorted by `to`, no `to` twice. The `from` of each may be overwritten.
  FdMove* fds = nullptr;
  int fd_count = 0;
  // Marks every descriptor from 3 up that is no `to` close-on-exec.
  bool close_other_fds = true;

  // chdir(2); nullptr stays.
  const char* working_directory = nullptr;

  // After the descriptors, so that RLIMIT_NOFILE binds the command only.
  const ChildLimit* limits = nullptr;
  int limit_count = 0;

  // PR_SET_PDEATHSIG, prctl(2): sent to the child when the *thread* that has
  // cloned it ends; 0 for none. A change of ids would clear it: set it after.
  // `parent` is the pid of the cloning process; a child that finds another
  // parent has lost the race, and exits.
  int parent_death_signal = 0;
  pid_t parent = 0;

  // PR_SET_NO_NEW_PRIVS, prctl(2): no setuid program gets what it is for.
  bool no_new_privileges = false;

  // Signals that stay ignored if they are now; every other gets its default
  // disposition. The mask is set last.
  SignalSet keep_ignored = 0;
  SignalSet blocked = 0;

  // Each has room for kPidDigits and a NUL: the child's pid, as it is in its
  // own PID namespace, goes there in decimal. Parts of `envp`, for one.
  char* const* pid_texts = nullptr;
  int pid_text_count = 0;

  // Tried in turn as execvp(3) does; ends with nullptr.
  const char* const* paths = nullptr;
  const char* const* argv = nullptr;
  const char* const* envp = nullptr;
  // {kShell, path, argv[1], ..., nullptr}, of which the second is filled in
  // here.
  const char** shell_argv = nullptr;
};

enum class ChildStage : int {
  kNone,
  kCgroup,
  kProcessGroup,
  kDescriptors,
  kWorkingDirectory,
  kLimits,
  kParentDeath,
  kPrivileges,
  kSignals,
  kExec,
};

// Where and why the child gave up; kNone when the exec worked.
struct ChildFailure {
  ChildStage stage = ChildStage::kNone;
  int error = 0;
};

// Runs in the child, with every signal blocked. Execs, or fills in `failure`
// and exits with 127.
[[noreturn]] void RunChild(const ChildPlan& plan, ChildFailure* failure);

// The same for a child that begins on a stack of its own; `argument` is a
// ChildEntry.
struct ChildEntry {
  const ChildPlan* plan;
  ChildFailure* failure;
};
[[noreturn]] void RunChildEntry(void* argument);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_CHILD_H_
