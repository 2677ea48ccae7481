#include "treekill/exit_status.h"

#include "absl/strings/str_cat.h"
#include "treekill/kernel/signals.h"

namespace treekill {

int ExitStatus::ShellCode() const {
  switch (kind_) {
    case Kind::kExited:
      return value_;
    case Kind::kSignaled:
      return 128 + value_;
    case Kind::kUnknown:
      break;
  }
  return 125;
}

std::string ExitStatus::ToString() const {
  switch (kind_) {
    case Kind::kExited:
      return absl::StrCat("exit code ", value_);
    case Kind::kSignaled:
      return absl::StrCat("signal ", kernel::SignalName(value_),
                          core_dumped_ ? " (core dumped)" : "");
    case Kind::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace treekill
