// What /proc tells of processes: proc(5).
#ifndef TREEKILL_KERNEL_PROC_H_
#define TREEKILL_KERNEL_PROC_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace treekill::kernel {

struct ProcessStat {
  pid_t pid = 0;
  // At most 15 bytes, any of them but NUL.
  std::string comm;
  // R, S, D, T, t, Z, X, I.
  char state = '?';
  pid_t parent = 0;
  pid_t process_group = 0;
  pid_t session = 0;
  // Threads alive in the process. A leader that is a zombie may have some.
  int threads = 0;
  // Clock ticks since boot; with the pid it names one process for ever.
  uint64_t start_time = 0;
  // Clock ticks of CPU time, its own and that of the children it has waited
  // for.
  uint64_t cpu_ticks = 0;
  // Of the kernel itself: it takes no signals.
  bool is_kernel_thread = false;

  // `start_time` as a time since boot, rounded down to a clock tick: of the
  // clock of BootTimeNow().
  absl::Duration StartedAt() const;
  absl::Duration CpuTime() const;

  // A zombie leader with live threads is not dead.
  bool IsDead() const { return state == 'X' || (state == 'Z' && threads <= 1); }
};

// Parses the text of /proc/PID/stat; nullopt when it is not one.
std::optional<ProcessStat> ParseProcessStat(const std::string& text);

// Of a process, 0: this one. nullopt when it has gone; an error when that could
// not be found out (no descriptor is left).
absl::StatusOr<std::optional<ProcessStat>> FindProcess(pid_t pid);

// The same for who takes what cannot be read for gone.
std::optional<ProcessStat> ReadProcessStat(pid_t pid);

// The inode that stands for a namespace of a process (0: this one), such as
// "pid" or "time"; see namespaces(7). 0 when it cannot be read.
uint64_t NamespaceOf(pid_t pid, const std::string& kind);
// The initial PID namespace's, on every machine (PROC_PID_INIT_INO).
constexpr uint64_t kInitialPidNamespace = 0xEFFFFFFC;

// The pids that a process has, from this PID namespace's inwards to that of its
// own; empty when it has gone. Everybody may read them.
absl::StatusOr<std::vector<pid_t>> NamespacePids(pid_t pid);

// getpgid(2); -1 when the process has gone.
pid_t ProcessGroupOf(pid_t pid);

// Is every thread of the process stopped, by a signal or a tracer, or gone? One
// that was sent SIGSTOP may complete a fork before it stops.
bool HasStopped(pid_t pid);

// kFailedPrecondition when /proc is not that of our PID namespace: then its
// numbers are other processes'.
absl::Status CheckProc();

// Every process visible in /proc, threads not counted, after CheckProc().
absl::StatusOr<std::vector<pid_t>> ListProcesses();

// Calls `visit` for each of them in the order of their numbers, soon after it
// was seen there. So a process that forks and ends meanwhile is met or its
// child is, but where numbers begin anew.
absl::Status VisitProcesses(const std::function<void(pid_t)>& visit);

// The number that was last given to a process in this PID namespace: smaller
// than before when numbers have begun anew. 0 when that cannot be told.
pid_t LastPid();

// This process, its parent, and so on, up to the first that hides from us
// (/proc is mounted with hidepid, proc(5)): who is above that is not known.
absl::StatusOr<std::vector<ProcessStat>> ListAncestry();

// The live descendants of `ancestors`, themselves not counted: by one read of
// each process's parent. A moment's picture, in which one that is just being
// born may be missing. What an ancestor is to be the ancestor of for ever must
// come back to it as an orphan: see subreaper.h.
absl::StatusOr<std::vector<ProcessStat>> ListDescendants(
    const std::vector<pid_t>& ancestors);

// The members of a process group, zombies included. A moment's picture, too.
absl::StatusOr<std::vector<ProcessStat>> ListProcessGroup(pid_t group);

// Takes the text of a /proc/PID/cgroup file and returns the path on its "0::"
// line; nullopt without one. The path may end in " (deleted)".
std::optional<std::string> ParseCgroupOfProcess(const std::string& text);

// The cgroup v2 path of a process (0: this one).
absl::StatusOr<std::string> ReadCgroupOfProcess(pid_t pid);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_PROC_H_
