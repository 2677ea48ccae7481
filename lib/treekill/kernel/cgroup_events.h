// What a cgroup tells of itself as a whole, and waiting for it: cgroup.events.
#ifndef TREEKILL_KERNEL_CGROUP_EVENTS_H_
#define TREEKILL_KERNEL_CGROUP_EVENTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/cgroup.h"

namespace treekill::kernel {

struct CgroupEvents {
  // A member is alive, here or below.
  bool populated = false;
  // All members are frozen, here and below: cgroup.freeze, Linux 5.2.
  bool frozen = false;
};

// kNotFound when the cgroup has been removed.
absl::StatusOr<CgroupEvents> ReadCgroupEvents(const Cgroup& cgroup);

// Reads an open cgroup.events, called `shown`: is any member alive, here or
// below? False when the cgroup has been removed. Poll the descriptor for
// POLLPRI to wait for a change, at most one in 10 ms.
absl::StatusOr<bool> ReadPopulated(int events_fd, const std::string& shown);

// Blocks until nobody is alive in it, or it is gone; false when `until`, a
// moment of MonotonicNow(), comes before that.
absl::StatusOr<bool> AwaitEmpty(const Cgroup& cgroup, absl::Duration until);

// Blocks until all members are frozen, or none needs to be any more. kNotFound
// when the cgroup has been removed.
absl::StatusOr<bool> AwaitFrozen(const Cgroup& cgroup, bool frozen,
                                 absl::Duration until);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_CGROUP_EVENTS_H_
