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

// absl::SimpleAtoi() alone takes signs and spaces too.
std::optional<int> ParseDigits(absl::string_view text) {
  int number = 0;
  if (text.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(text, &number)) {
    return std::nullopt;
  }
  return number;
}

// "RTMIN", "RTMIN+3", "RTMAX-1".
std::optional<int> ParseRealTimeSignal(absl::string_view name) {
  bool from_min = absl::ConsumePrefix(&name, "RTMIN");
  if (!from_min && !absl::ConsumePrefix(&name, "RTMAX")) return std::nullopt;
  int base = from_min ? SIGRTMIN : SIGRTMAX;
  if (name.empty()) return base;
  std::optional<int> offset = ParseDigits(name.substr(1));
  if (name[0] != (from_min ? '+' : '-') || !offset.has_value() ||
      *offset > SIGRTMAX - SIGRTMIN) {
    return std::nullopt;
  }
  return from_min ? base + *offset : base - *offset;
}

}  // namespace

void BlockAllSignals() { SetMask(kEverySignal, nullptr); }

ScopedBlockAllSignals::ScopedBlockAllSignals() {
  SetMask(kEverySignal, &saved_);
}

ScopedBlockAllSignals::~ScopedBlockAllSignals() { SetMask(saved_, nullptr); }

std::optional<int> ParseSignal(const std::string& text) {
  if (std::optional<int> number = ParseDigits(text)) {
    if (*number < 1 || *number > kLastSignal) return std::nullopt;
    return number;
  }
  std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  absl::ConsumePrefix(&name, "SIG");
  if (name == "IO") return SIGIO;
  if (name == "IOT") return SIGIOT;
  if (name == "CLD") return SIGCHLD;
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
