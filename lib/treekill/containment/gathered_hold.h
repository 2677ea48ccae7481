// Holding processes that were started by somebody else, without a cgroup of
// theirs: a process and its descendants, or a process group.
#ifndef TREEKILL_CONTAINMENT_GATHERED_HOLD_H_
#define TREEKILL_CONTAINMENT_GATHERED_HOLD_H_

#include <sys/types.h>

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "treekill/containment/gathering.h"
#include "treekill/containment/hold.h"

namespace treekill::containment {

// Signal() and Kill() stop everybody first (SIGSTOP), so that none is missed
// because it was just being born. They block until nobody new is found, but for
// no longer than 15 seconds: a tree may have members that we cannot stop.
// All signals of the calling thread are blocked meanwhile: its end would leave
// them stopped.
class GatheredHold : public Hold {
 public:
  Containment kind() const override { return Containment::kProcess; }
  void SetLeader(pid_t, int) override {}
  // The pidfd of one that lives.
  int events_fd() const override;
  uint32_t event_mask() const override { return EPOLLIN; }

  // After Kill() those do not count whom we may not signal. An error when all
  // that are known have ended, and /proc could not be read for others, be it
  // before these were signalled.
  absl::StatusOr<bool> IsEmpty() override;
  // Says whether it is empty, and changes nothing.
  absl::Status Remove() override;
  // Looks, and touches nobody.
  absl::StatusOr<std::vector<pid_t>> Members() override;
  bool Contains(pid_t pid) const override;
  SignalRound Signal(int signal, pid_t only_group) override;
  absl::Status Kill() override;
  bool IsRefused() const override;

  // Who was found, by pid.
  const std::map<pid_t, FoundProcess>& found() const {
    return gathering_.found();
  }

  // Who is alive, and did not let us signal it the last time.
  std::vector<pid_t> Refused();

 protected:
  explicit GatheredHold(Gathering::Judge belongs)
      : gathering_(std::move(belongs),
                   [](const kernel::ProcessStat&) { return true; }) {}

  const Gathering& gathering() const { return gathering_; }
  Gathering& gathering() { return gathering_; }

 private:
  // Until all have stopped and nobody new is found, or that moment.
  absl::Status StopAll(absl::Duration until);
  absl::Status LookIfDue();

  Gathering gathering_;
  absl::Duration next_look_;
  absl::Duration pause_;
  // Why a signal may have ended the parent of one that was not found before.
  absl::Status missed_;
  bool killed_ = false;
  // When only those were left for the first time whom we may not kill.
  absl::Duration refused_since_ = absl::InfiniteDuration();
};

// The process and its descendants. An orphan is found only if it was found
// before its parent's end, or another of the tree has adopted it.
std::unique_ptr<GatheredHold> HoldProcessTree(FoundProcess root);

// The members of the process group. kNotFound when none is alive.
absl::StatusOr<std::unique_ptr<GatheredHold>> HoldMembersOfGroup(pid_t group);

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_GATHERED_HOLD_H_
