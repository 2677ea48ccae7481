#include "treekill/containment/subreaper.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "treekill/kernel/subreaper.h"

namespace treekill::containment {

SubreaperHold::SubreaperHold(kernel::UniqueFd children)
    : children_(std::move(children)), descendants_({getpid()}) {}

absl::StatusOr<std::unique_ptr<SubreaperHold>> SubreaperHold::Create() {
  absl::Status becomes = kernel::BecomeSubreaper();
  if (!becomes.ok()) return becomes;
  absl::StatusOr<kernel::UniqueFd> children = kernel::WatchChildren();
  if (!children.ok()) return children.status();
  return std::unique_ptr<SubreaperHold>(
      new SubreaperHold(*std::move(children)));
}

absl::StatusOr<bool> SubreaperHold::IsEmpty() {
  kernel::TakeChildEvents(children_.get());
  if (leader_pidfd_ >= 0 && !leader_end_.has_value()) {
    absl::StatusOr<std::optional<kernel::ChildEnd>> end =
        kernel::PollChildEnd(leader_pidfd_, /*reap=*/true);
    if (!end.ok()) return end.status();
    leader_end_ = *end;
  }
  // One that is traced by somebody else is dead, and cannot be reaped yet.
  absl::StatusOr<kernel::Reaped> reaped =
      kernel::ReapOrphans([this](pid_t pid) {
        return pid == leader_ && leader_pidfd_ >= 0 && !leader_end_.has_value();
      });
  if (!reaped.ok()) return reaped.status();
  return !reaped->any_left;
}

absl::StatusOr<std::vector<pid_t>> SubreaperHold::Members() {
  return descendants_.Pids();
}

bool SubreaperHold::Contains(pid_t pid) const {
  absl::StatusOr<std::vector<pid_t>> pids = descendants_.Pids();
  return pids.ok() && std::find(pids->begin(), pids->end(), pid) != pids->end();
}

SignalRound SubreaperHold::Signal(int signal, pid_t only_group) {
  return descendants_.Signal(signal, only_group, leader_,
                             [this] { (void)IsEmpty(); });
}

absl::Status SubreaperHold::Kill() {
  SignalRound round = Signal(SIGKILL, /*only_group=*/0);
  refused_ = round.refused > 0 && round.signalled == 0;
  return round.error;
}

absl::Status SubreaperHold::Remove() {
  return BusyUnlessEmpty("waitid", "a process of it is alive");
}

}  // namespace treekill::containment
