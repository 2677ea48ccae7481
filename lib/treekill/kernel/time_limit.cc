#include "treekill/kernel/time_limit.h"

#include <atomic>

namespace treekill::kernel {
namespace {

std::atomic<TimeLimitHook> time_limit_hook{nullptr};

}  // namespace

absl::Duration TimeLimit(const char* name, absl::Duration usual) {
  TimeLimitHook hook = time_limit_hook.load(std::memory_order_relaxed);
  return hook == nullptr ? usual : hook(name, usual);
}

void SetTimeLimitHookForTesting(TimeLimitHook hook) {
  time_limit_hook.store(hook);
}

}  // namespace treekill::kernel
