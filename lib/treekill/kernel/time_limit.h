// The time limits that the program sets itself, each under a name, so that a
// test need not wait them out: a seam like the fault hook of syscalls.h.
#ifndef TREEKILL_KERNEL_TIME_LIMIT_H_
#define TREEKILL_KERNEL_TIME_LIMIT_H_

#include "absl/time/time.h"

namespace treekill::kernel {

// Returns `usual`, or what the hook makes of it. Thread-safe.
absl::Duration TimeLimit(const char* name, absl::Duration usual);

// Asked for each limit with its name and its usual length.
using TimeLimitHook = absl::Duration (*)(const char* name,
                                         absl::Duration usual);

// Installs `hook` for the whole process; nullptr removes it. Tests only: it
// must not be changed while another thread is inside the library.
void SetTimeLimitHookForTesting(TimeLimitHook hook);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_TIME_LIMIT_H_
