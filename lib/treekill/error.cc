#include "treekill/error.h"

#include "treekill/kernel/error.h"

namespace treekill {

int ErrnoOf(const absl::Status& status) { return kernel::StatusErrno(status); }

std::string CallOf(const absl::Status& status) {
  return kernel::StatusCall(status);
}

std::string HintOf(const absl::Status& status) {
  return kernel::StatusHint(status);
}

}  // namespace treekill
