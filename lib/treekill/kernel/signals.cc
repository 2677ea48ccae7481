#include "treekill/kernel/signals.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace treekill::kernel {
namespace {

void SetMask(SignalSet mask, SignalSet* old) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, old, sizeof(mask));
}

// "RTMIN", "RTMIN+3", "RTMAX-1".
std::optional<int> ParseRealTimeSignal(absl::string_view name) {
  bool from_min = absl::ConsumePrefix(&name, "RTMIN");
  if (!from_min && !absl::ConsumePrefix(&name, "RTMAX")) return std::nullopt;
  int base = from_min ? SIGRTMIN : SIGRTMAX;
  if (name.empty()) return base;
  int offset = 0;
  if (name[0] != (from_min ? '+' : '-') ||
      !absl::SimpleAtoi(name.substr(1), &offset) || offset < 0 ||
      offset > SIGRTMAX - SIGRTMIN) {
    return std::nullopt;
  }
  return from_min ? base + offset : base - offset;
}

}  // namespace

ScopedBlockAllSignals::ScopedBlockAllSignals() {
  SetMask(~SignalSet{0}, &saved_);
}

ScopedBlockAllSignals::~ScopedBlockAllSignals() { SetMask(saved_, nullptr); }

std::optional<int> ParseSignal(const std::string& text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    if (number < 1 || number > kLastSignal) return std::nullopt;
    return number;
  }
  std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  absl::ConsumePrefix(&name, "SIG");
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  return ParseRealTimeSignal(name);
}

std::string SignalName(int signal) {
  if (signal >= SIGRTMIN && signal <= SIGRTMAX) {
    if (signal == SIGRTMIN) return "RTMIN";
    return absl::StrCat("RTMIN+", signal - SIGRTMIN);
  }
  const char* known = sigabbrev_np(signal);
  return known != nullptr ? known : absl::StrCat(signal);
}

}  // namespace treekill::kernel
