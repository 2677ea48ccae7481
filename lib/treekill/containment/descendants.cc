#include "treekill/containment/descendants.h"

#include <csignal>

#include "treekill/containment/gathering.h"

namespace treekill::containment {
namespace {

// A fork bomb that forks faster than we look always has somebody who runs.
constexpr int kMaxPasses = 10;

}  // namespace

absl::StatusOr<std::vector<pid_t>> Descendants::Pids() const {
  absl::StatusOr<std::vector<kernel::ProcessStat>> live = Live();
  if (!live.ok()) return live.status();
  std::vector<pid_t> pids;
  for (const kernel::ProcessStat& process : *live) pids.push_back(process.pid);
  return pids;
}

SignalRound Descendants::Signal(int signal, pid_t only_group,
                                pid_t leader) const {
  auto is_meant = [only_group](const kernel::ProcessStat& process) {
    return only_group == 0 || process.process_group == only_group;
  };
  auto list = [&]() -> absl::StatusOr<std::vector<kernel::ProcessStat>> {
    absl::StatusOr<std::vector<kernel::ProcessStat>> live = Live();
    if (live.ok()) std::erase_if(*live, std::not_fn(is_meant));
    return live;
  };
  Gathering gathering(list, is_meant);
  absl::Status looked;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    absl::StatusOr<bool> any_new = gathering.Look(SIGSTOP);
    looked = any_new.status();
    if (!any_new.ok() || !*any_new) break;
  }
  SignalRound round = gathering.Signal(signal, leader);
  if (!looked.ok()) round.error = looked;
  return round;
}

}  // namespace treekill::containment
