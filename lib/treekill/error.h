// What a failed call into the kernel leaves on an absl::Status.
//
// Every Status of this library that comes from a system call says in its
// message what was tried, on which path, and why it failed; errno and the
// call's name can be read from it, for a caller that decides by them.
#ifndef TREEKILL_ERROR_H_
#define TREEKILL_ERROR_H_

#include <string>

#include "absl/status/status.h"

namespace treekill {

// The errno, or 0 when `status` does not come from a system call.
int ErrnoOf(const absl::Status& status);

// The call's name as its manual page has it ("mkdir", "clone3", "execve"), or
// "". A Spawn() that failed with "execve" has found no program to run; with
// "chdir", no working directory.
std::string CallOf(const absl::Status& status);

// What to do about it, or "". It is the end of the message, too.
std::string HintOf(const absl::Status& status);

}  // namespace treekill

#endif  // TREEKILL_ERROR_H_
