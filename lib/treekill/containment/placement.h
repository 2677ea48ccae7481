// Where the leaves of a supervisor are made.
#ifndef TREEKILL_CONTAINMENT_PLACEMENT_H_
#define TREEKILL_CONTAINMENT_PLACEMENT_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "treekill/containment/hold.h"
#include "treekill/kernel/cgroup.h"

namespace treekill::containment {

// Why we may make leaves at a place.
enum class PlacementRight {
  // No systemd runs here.
  kNoManager,
  // systemd has delegated the cgroup, or one above it.
  kDelegated,
  // systemd has delegated it to a keeper, which lets us.
  kKeeper,
  // systemd manages the cgroup and has not delegated it.
  kUndelegated,
};

// The cgroup below which the leaves go.
struct Placement {
  kernel::Cgroup parent;
  PlacementRight right;
};

// Finds this process's own cgroup through mountinfo and /proc/self/cgroup, on
// unified and hybrid machines, in a cgroup namespace or behind a bind mount.
// An error says what is missing and what to do about it.
absl::StatusOr<Placement> FindPlacement();

// The cgroup of a scope that was made for us, with the process `pid` in it;
// `cgroup` is its path, as in /proc/PID/cgroup.
absl::StatusOr<Placement> PlaceInScope(const std::string& cgroup, pid_t pid);

// Makes a leaf of that name; see leaf_name.h. `placement` must outlive the
// hold. Fails unless the leaf can really be killed through cgroup.kill (Linux
// 5.14). The leaf is removed by Hold::Remove(), and by the destructor as far as
// that goes without waiting.
absl::StatusOr<std::unique_ptr<Hold>> HoldInCgroup(const Placement& placement,
                                                   const std::string& name);

// The descriptors of a leaf, as its maker has opened them.
struct LeafFds {
  kernel::UniqueFd directory;
  kernel::UniqueFd kill;
  kernel::UniqueFd events;
};

// Holds a leaf that another process has made, by its descriptors; as far as
// they are missing it is opened by name. kNotFound when there is none. It is
// removed by Hold::Remove() only.
// `parent` must outlive the hold.
absl::StatusOr<std::unique_ptr<Hold>> TakeOverLeaf(const kernel::Cgroup& parent,
                                                   const std::string& name,
                                                   LeafFds fds = LeafFds());

// Holds a cgroup that somebody else has made, and will remove:
// Hold::Remove() only says whether nobody is alive in it.
absl::StatusOr<std::unique_ptr<Hold>> HoldForeign(kernel::Cgroup cgroup);

// The directory of a cgroup by its path, as in /proc/PID/cgroup.
absl::StatusOr<kernel::Cgroup> OpenCgroup(const std::string& path);

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_PLACEMENT_H_
