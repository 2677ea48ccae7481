#include "treekill/containment/descendants.h"

#include <algorithm>
#include <csignal>
#include <iterator>

#include "treekill/containment/gathering.h"
#include "treekill/kernel/event_loop.h"

namespace treekill::containment {
namespace {

// A fork bomb that forks faster than we look always has somebody who runs, and
// may leave us little time on the processor.
constexpr int kMaxPasses = 10;
constexpr absl::Duration kLongestLook = absl::Milliseconds(250);

}  // namespace

std::vector<pid_t> Descendants::LiveAncestors() const {
  std::vector<pid_t> live;
  std::copy_if(ancestors_.begin(), ancestors_.end(), std::back_inserter(live),
               is_live_);
  return live;
}

absl::StatusOr<std::vector<kernel::ProcessStat>> Descendants::Live() const {
  std::vector<pid_t> ancestors = LiveAncestors();
  while (true) {
    absl::StatusOr<std::vector<kernel::ProcessStat>> live =
        kernel::ListDescendants(ancestors);
    std::vector<pid_t> still = LiveAncestors();
    if (still == ancestors) return live;
    ancestors = std::move(still);
  }
}

absl::StatusOr<std::vector<pid_t>> Descendants::Pids() const {
  absl::StatusOr<std::vector<kernel::ProcessStat>> live = Live();
  if (!live.ok()) return live.status();
  std::vector<pid_t> pids;
  for (const kernel::ProcessStat& process : *live) pids.push_back(process.pid);
  return pids;
}

SignalRound Descendants::Signal(
    int signal, pid_t only_group, pid_t leader,
    const std::function<void()>& between_looks) const {
  const Gathering* found = nullptr;
  auto is_ancestor = [&](pid_t pid) {
    return std::find(ancestors_.begin(), ancestors_.end(), pid) !=
               ancestors_.end() &&
           is_live_(pid);
  };
  // One may be the parent of another.
  auto belongs = [&](const kernel::ProcessStat& process) {
    return !is_ancestor(process.pid) &&
           (is_ancestor(process.parent) || found->IsLive(process.parent));
  };
  auto is_meant = [only_group](const kernel::ProcessStat& process) {
    return only_group == 0 || process.process_group == only_group;
  };
  Gathering gathering(belongs, is_meant);
  found = &gathering;
  absl::Status looked;
  // SIGKILL ends a fork that is under way, as SIGSTOP does not; and whoever is
  // left is left to the ancestors.
  int first_signal = signal == SIGKILL ? SIGKILL : SIGSTOP;
  absl::Duration until = kernel::MonotonicNow() + kLongestLook;
  for (int pass = 0; pass < kMaxPasses && kernel::MonotonicNow() < until;
       ++pass) {
    absl::StatusOr<bool> any_new = gathering.Look(first_signal);
    looked = any_new.status();
    if (!any_new.ok() || !*any_new) break;
    between_looks();
  }
  SignalRound round = gathering.Signal(signal, leader);
  if (signal == SIGKILL) {
    // Most have ended of it by now.
    round.signalled = static_cast<int>(gathering.reached().size());
    round.leader_signalled = gathering.reached().count(leader) > 0;
  }
  if (!looked.ok()) round.error = looked;
  return round;
}

}  // namespace treekill::containment
