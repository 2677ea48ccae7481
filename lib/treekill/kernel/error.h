// How a failed system call becomes an absl::Status: the message says what was
// tried, the call's name and the reason; errno and the name ride along as
// payloads, for a caller that decides by them.
#ifndef TREEKILL_KERNEL_ERROR_H_
#define TREEKILL_KERNEL_ERROR_H_

#include <string>

#include "absl/status/status.h"

namespace treekill::kernel {

// Returns "`what`: `call`: strerror(`error`)". The code is what
// absl::ErrnoToStatusCode() makes of `error`.
absl::Status ErrnoStatus(int error, const std::string& call,
                         const std::string& what);

// Returns `status`, payloads included, with "; `hint`" after its message, or
// "`context`: " before it. An empty text changes nothing. The hint rides along,
// too.
absl::Status WithHint(const absl::Status& status, const std::string& hint);
absl::Status WithContext(const absl::Status& status,
                         const std::string& context);

// The errno, the call's name and the hint that a Status carries; 0 and ""
// without.
int StatusErrno(const absl::Status& status);
std::string StatusCall(const absl::Status& status);
std::string StatusHint(const absl::Status& status);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_ERROR_H_
