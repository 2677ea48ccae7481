#include "treekill/containment/hold.h"

#include <cerrno>

#include "treekill/kernel/error.h"

namespace treekill::containment {

absl::Status Hold::BusyUnlessEmpty(const std::string& call,
                                   const std::string& what) {
  absl::StatusOr<bool> empty = IsEmpty();
  if (!empty.ok() || *empty) return empty.status();
  return kernel::ErrnoStatus(EBUSY, call, what);
}

}  // namespace treekill::containment
