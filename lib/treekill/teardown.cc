#include "treekill/teardown.h"

#include "absl/strings/str_cat.h"
#include "treekill/kernel/signals.h"

namespace treekill {

const char* KillModeName(KillMode mode) {
  switch (mode) {
    case KillMode::kControlGroup:
      return "control-group";
    case KillMode::kMixed:
      return "mixed";
    case KillMode::kProcessGroup:
      return "process-group";
    case KillMode::kProcess:
      return "process";
  }
  return "unknown";
}

const char* OnSupervisorDeathName(OnSupervisorDeath what) {
  switch (what) {
    case OnSupervisorDeath::kLeave:
      return "leave";
    case OnSupervisorDeath::kKillLeader:
      return "kill-leader";
    case OnSupervisorDeath::kKillTree:
      return "kill-tree";
  }
  return "unknown";
}

std::optional<KillMode> ParseKillMode(const std::string& name) {
  for (KillMode mode : {KillMode::kControlGroup, KillMode::kMixed,
                        KillMode::kProcessGroup, KillMode::kProcess}) {
    if (name == KillModeName(mode)) return mode;
  }
  return std::nullopt;
}

std::optional<int> ParseSignal(const std::string& text) {
  return kernel::ParseSignal(text);
}

std::string SignalName(int signal) { return kernel::SignalName(signal); }

absl::Status Validate(const TeardownPolicy& policy) {
  for (const TeardownStep& step : policy.steps) {
    if (step.signal < 1 || step.signal > kernel::kLastSignal) {
      return absl::InvalidArgumentError(
          absl::StrCat("a teardown step's signal is ", step.signal));
    }
    if (step.grace < absl::ZeroDuration()) {
      return absl::InvalidArgumentError(
          "a teardown step's grace period is negative");
    }
  }
  if (policy.drain_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the drain timeout must be more than 0");
  }
  return absl::OkStatus();
}

}  // namespace treekill
