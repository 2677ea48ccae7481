// Processes that are found in /proc and signalled one by one. Each is held by a
// pidfd from when it was found, so that no other is hit when its number is
// reused.
#ifndef TREEKILL_CONTAINMENT_GATHERING_H_
#define TREEKILL_CONTAINMENT_GATHERING_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <vector>

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
  // The kernel did not let us signal it (EPERM).
  bool refused = false;

  bool HasEnded() const;
  // kNotFound when it has gone.
  absl::Status Send(int signal) const;
};

// Used by one thread at a time.
class Gathering final {
 public:
  // Says who belongs at a moment. Those found before may be left out.
  using Lister =
      std::function<absl::StatusOr<std::vector<kernel::ProcessStat>>()>;
  // Does a process belong, as it was read while it was held by its pidfd?
  using Judge = std::function<bool(const kernel::ProcessStat&)>;

  Gathering(Lister list, Judge belongs);

  // Takes one that is known to belong.
  void Add(FoundProcess process);

  // Looks once for those who are new, and sends them `signal`; 0: none. Says
  // whether there was anybody new. One that has been sent SIGSTOP completes no
  // fork any more (copy_process() in the kernel looks for signals under the
  // lock by which children become visible), so that looks which stop come to an
  // end.
  absl::StatusOr<bool> Look(int signal);

  // To all that were found, once more.
  void Send(int signal) const;

  // Sends `signal` to all that were found, and SIGCONT, so that those who are
  // stopped see it; to every one of them, whatever became of the other signal.
  SignalRound Signal(int signal, pid_t leader);

  // Those that were found, by pid.
  const std::map<pid_t, FoundProcess>& found() const { return found_; }
  // The same without those that have ended.
  const std::map<pid_t, FoundProcess>& Live();

 private:
  void Take(const kernel::ProcessStat& listed, int signal);
  kernel::UniqueFd Keep(kernel::UniqueFd pidfd);

  const Lister list_;
  const Judge belongs_;
  std::map<pid_t, FoundProcess> found_;
  // For looking when all others are used up.
  std::vector<kernel::UniqueFd> reserve_;
  bool may_keep_ = true;
};

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_GATHERING_H_
