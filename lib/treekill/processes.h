// Processes that somebody else has started: a process and its descendants, a
// process group, or those of a cgroup.
#ifndef TREEKILL_PROCESSES_H_
#define TREEKILL_PROCESSES_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/end_options.h"
#include "treekill/report.h"

namespace treekill {

struct ProcessesEnd {
  // Nobody of them is alive. Else:
  bool drained = false;
  // who is alive after SIGKILL, and whom the kernel does not let us signal
  // (another user's);
  std::vector<Member> survivors;
  std::vector<Member> refused;
  // what else went wrong.
  absl::Status error;
  // SIGKILL was sent.
  bool killed = false;
};

// Whoever may be waiting for them, nobody but those who belong is signalled:
// each is held by a pidfd, pidfd_open(2), from when it was found, and a number
// that is reused meanwhile is another process's. That takes a descriptor a
// process: for thousands, raise RLIMIT_NOFILE before. Without a descriptor a
// process is known by its number and start time, which /proc tells in steps of
// 10 ms.
//
// Each way to find them says with kNotFound that nobody is alive, and why, such
// as a zombie that its parent has not waited for. kInvalidArgument: that is no
// process, group or cgroup v2 of processes; kFailedPrecondition: to end it
// would end the caller, an ancestor of it, pid 1 or the kernel's own threads;
// kPermissionDenied: it is another user's. Nobody has been touched then.
//
// Threads: one at a time.
class Processes final {
 public:
  // The process and its descendants: those whose parents, from the one to the
  // next, lead up to it. A process whose parent has ended is not of them any
  // more, unless it was found before: whoever adopts orphans is its parent.
  static absl::StatusOr<Processes> OfTree(pid_t pid);

  // The members of the process group, setpgid(2); their children as far as they
  // have stayed in it.
  static absl::StatusOr<Processes> OfGroup(pid_t group);

  // Those of the cgroup v2 and of all below it. `path` is a directory, or the
  // cgroup's path as /proc/PID/cgroup has it. The cgroup itself is left.
  static absl::StatusOr<Processes> OfCgroup(const std::string& path);

  Processes(Processes&&) noexcept;
  Processes& operator=(Processes&&) noexcept;
  ~Processes();

  // "process 12 (sh)", "process group 12", "cgroup /sys/fs/cgroup/x". With any
  // bytes in it: not safe to print as it is.
  const std::string& name() const;

  // Who is alive, by pid: whom End() would signal. Touches nobody. A moment's
  // picture.
  absl::StatusOr<std::vector<Member>> Members();

  // Ends them: a signal, a grace period, then SIGKILL until nobody is alive.
  // Those of a tree or group are stopped (SIGSTOP) before each, again until
  // nobody new is found; the first signal is followed by SIGCONT. Who is born
  // in the grace period, and is found, gets SIGKILL only. Blocks for as long as
  // all that takes, and the calling thread's signals while somebody is stopped:
  // a caller that is killed by SIGKILL in that time leaves them stopped.
  ProcessesEnd End(const EndOptions& options = EndOptions()) &&;

 private:
  class Impl;
  explicit Processes(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace treekill

#endif  // TREEKILL_PROCESSES_H_
