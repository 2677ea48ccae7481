// Processes that are found in /proc and signalled one by one. Each is held by a
// pidfd from when it was found, so that no other is hit when its number is
// reused.
#ifndef TREEKILL_CONTAINMENT_GATHERING_H_
#define TREEKILL_CONTAINMENT_GATHERING_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/containment/hold.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/proc.h"

namespace treekill::containment {

// A process as it was when it was found.
struct FoundProcess {
  kernel::ProcessStat stat;
  // Not valid when no descriptor was left: then its start time has to tell it
  // from another of its number.
  kernel::UniqueFd pidfd;
  bool is_meant = true;
  // The kernel did not let us signal it (EPERM).
  bool refused = false;

  bool HasEnded() const;
  // kNotFound when it has gone.
  absl::Status Send(int signal) const;
};

// Used by one thread at a time.
class Gathering final {
 public:
  // Asked about a process as it was read.
  using Judge = std::function<bool(const kernel::ProcessStat&)>;

  // `belongs`: is it one of them? Asked again while it is held by its pidfd.
  // `is_meant`: is it to be signalled, if it is?
  Gathering(Judge belongs, Judge is_meant);

  // Takes one that is known to belong.
  void Add(FoundProcess process);

  // Looks through /proc once for those who are new, and sends each of them
  // `signal` at once; 0: none. Returns whether somebody was new, or may have
  // been and has left a child that was not met.
  absl::StatusOr<bool> Look(int signal);

  // To all that were found, once more.
  void Send(int signal) const;

  // Has every one of them stopped whom we may stop? Then none of them completes
  // another fork; until then SIGSTOP lets one that is under way come to its end
  // (copy_process() in the kernel gives up for SIGKILL only).
  bool HaveAllStopped() const;

  // Sends `signal` to all that were found, and SIGCONT, so that those who are
  // stopped see it; to every one of them, whatever became of the other signal.
  SignalRound Signal(int signal, pid_t leader);

  // Whom Look() has sent a signal, by pid, be they gone since.
  const std::set<pid_t>& reached() const { return reached_; }
  // Those that were found, by pid.
  const std::map<pid_t, FoundProcess>& found() const { return found_; }
  // Has one been found under this number, which is its own still?
  bool IsLive(pid_t pid) const;
  // The same without those that have ended.
  const std::map<pid_t, FoundProcess>& Live();

 private:
  // What became of one that was met.
  enum class Sight { kNotNew, kNew, kGone };
  absl::StatusOr<Sight> TakeIfNew(pid_t pid, int signal);

  const Judge belongs_;
  const Judge is_meant_;
  std::map<pid_t, FoundProcess> found_;
  std::set<pid_t> reached_;
  // kernel::LastPid() when the last look began; 0: there was none.
  pid_t last_pid_ = 0;
};

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_GATHERING_H_
