// The reapers that run on this machine, whoever has started them, and what
// they hold.
#ifndef TREEKILL_GUARDIAN_FOREIGN_REAPER_H_
#define TREEKILL_GUARDIAN_FOREIGN_REAPER_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/containment/descendants.h"
#include "treekill/containment/gathering.h"
#include "treekill/containment/hold.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/proc.h"

namespace treekill::guardian {

struct FoundReaper {
  // What it holds: ReaperForm::tree.
  std::string id;
  containment::LeafName tree;
  // Whose it is.
  uid_t uid = 0;
  // The outer one and the inner one, or who is left of them.
  std::vector<kernel::ProcessStat> processes;

  // nullopt while there is none, or when that is not known here.
  std::optional<containment::LeaderMark> leader = {};

  // The leader's parent; 0 when one of the two has been killed.
  pid_t inner() const;
};

// By their names and command lines, as far as we may see them. Anybody may call
// a process of his so: ours and root's only, but all for root.
absl::StatusOr<std::vector<FoundReaper>> FindReapers();

// Holds a tree that a reaper holds for another supervisor. Never signals the
// reaper, which ends by itself when nobody is left: that is how it is known,
// but for a reaper that is killed or gives up. Whom Signal() and Kill() have
// seen are then looked for, too.
class ForeignReaper final : public containment::Hold {
 public:
  // kNotFound when there is no such reaper any more.
  static absl::StatusOr<std::unique_ptr<ForeignReaper>> Open(
      const FoundReaper& reaper);

  // Blocks until nobody is left; false when `until`, a moment of
  // kernel::MonotonicNow(), comes before that.
  bool AwaitEnd(absl::Duration until) const;

  Containment kind() const override { return Containment::kSubreaper; }
  void SetLeader(pid_t, int) override {}
  absl::StatusOr<bool> IsEmpty() override;
  absl::StatusOr<std::vector<pid_t>> Members() override;
  bool Contains(pid_t pid) const override;
  containment::SignalRound Signal(int signal, pid_t only_group) override;
  absl::Status Kill() override;
  bool IsRefused() const override { return refused_; }
  absl::Status Remove() override;

 private:
  struct Process {
    pid_t pid;
    kernel::UniqueFd pidfd;
  };

  explicit ForeignReaper(std::vector<Process> processes)
      : processes_(std::move(processes)) {}
  // Is it one of the reaper's processes, which is alive?
  bool IsReaper(pid_t pid) const;
  bool ReaperHasEnded() const;
  // Adds those who are alive to victims_.
  absl::Status Remember();
  containment::SignalRound SignalVictims(int signal, pid_t only_group) const;
  // Of those processes of the reaper's that are alive.
  containment::Descendants descendants() const;

  const std::vector<Process> processes_;
  // Those who were seen before a signal, by pid.
  std::map<pid_t, containment::FoundProcess> victims_;
  bool refused_ = false;
};

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_FOREIGN_REAPER_H_
