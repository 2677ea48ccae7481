// Processes by pidfd: pidfd_open(2), pidfd_send_signal(2), waitid(2).
#ifndef TREEKILL_KERNEL_PIDFD_H_
#define TREEKILL_KERNEL_PIDFD_H_

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

// How a child ended, as waitid(2) says it.
struct ChildEnd {
  enum class How { kUnknown, kExited, kKilled };
  How how = How::kUnknown;
  // Exit code or signal number.
  int value = 0;
  bool core_dumped = false;
  rusage usage{};
};

// kNotFound when there is no such process any more.
absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid);

// Has it, all of its threads, come to its end? Its children have other parents
// by then. Reaped or not.
bool HasEnded(int pidfd);

// Waits for that, whatever signals come; false when it is not so at `until`, a
// moment of MonotonicNow().
bool AwaitEnd(int pidfd, absl::Duration until);

// Sends `signal` to the process behind `pidfd`, whose number is `pid`. A
// process that has gone is no error. Where pidfd_send_signal(2) is forbidden it
// is kill(2) that sends it, if the process has not ended by then.
absl::Status SendSignal(int pidfd, pid_t pid, int signal);

// The same, and SIGCONT after it, so that a stopped process sees it.
absl::Status SendSignalAndContinue(int pidfd, pid_t pid, int signal);

// Does the kernel let us signal it? Also true when it has gone. The descriptor
// is its pidfd or its directory /proc/PID. Where pidfd_send_signal(2) is
// forbidden, the answer is about whoever has the number `pid` now.
bool MaySignal(int process_fd, pid_t pid);

// Does the process group that the process has led have members, zombies
// included? Then its number is no other group's, be the leader gone or not.
// False where that cannot be asked (before Linux 6.9).
bool IsGroupAlive(int leader_pidfd);

// OK when pidfd_send_signal(2) is to be had here.
absl::Status ProbePidfdSignals();

// Tells how the child behind `pidfd` ended; nullopt while it lives. Never
// blocks. With `reap` the zombie is removed and its pid becomes free; without,
// it stays, and pins its pid and process group number. `how` is kUnknown when
// somebody else has reaped it (SIGCHLD ignored, waitpid(-1) in the host) and
// the kernel (before 6.15) has not kept the status on the pidfd.
absl::StatusOr<std::optional<ChildEnd>> PollChildEnd(int pidfd, bool reap);

// The signal by which the child has been stopped since this was last asked; 0
// when it has not.
int PollChildStop(int pidfd);

// Waits until the child has ended and reaps it.
absl::Status ReapChild(int pidfd);

// The id of the cgroup (its directory's inode) that the process is in:
// PIDFD_GET_INFO, Linux 6.13. nullopt where it is not to be had.
std::optional<uint64_t> CgroupIdOf(int pidfd);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_PIDFD_H_
