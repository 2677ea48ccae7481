// Being the reaper of all orphans below this process: PR_SET_CHILD_SUBREAPER,
// prctl(2). Process-wide; see SupervisorOptions::adopt_orphans.
#ifndef TREEKILL_KERNEL_SUBREAPER_H_
#define TREEKILL_KERNEL_SUBREAPER_H_

#include <sys/types.h>

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

absl::Status BecomeSubreaper();

struct Reaped {
  std::vector<pid_t> pids;
  // There are other children, alive or kept.
  bool any_left = false;
};

// Reaps the dead children for which `keep` is false. Never blocks.
absl::StatusOr<Reaped> ReapOrphans(const std::function<bool(pid_t)>& keep);

// A descriptor that is readable when a child has ended or was stopped, until
// TakeChildEvents(): signalfd(2) of SIGCHLD, which must be blocked and not
// ignored.
absl::StatusOr<UniqueFd> WatchChildren();
void TakeChildEvents(int fd);

// The live children of this process, adopted ones included.
absl::StatusOr<std::vector<pid_t>> ListLiveChildren();

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_SUBREAPER_H_
