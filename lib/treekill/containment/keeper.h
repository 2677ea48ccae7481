// How a keeper and those whose leaves it keeps find each other: by a symbolic
// link to the keeper's cgroup, below which everybody who may makes leaves.
#ifndef TREEKILL_CONTAINMENT_KEEPER_H_
#define TREEKILL_CONTAINMENT_KEEPER_H_

#include <string>

#include "absl/status/statusor.h"
#include "treekill/containment/placement.h"

namespace treekill::containment {

// The cgroup below the keeper's that the keeper itself is in. While somebody
// is there it is alive.
constexpr char kKeeperItself[] = "supervisor";

// /run/treekill/keeper for root, $XDG_RUNTIME_DIR/treekill/keeper for others.
std::string KeeperLink();

// Is the keeper of this cgroup alive?
bool IsKept(const kernel::Cgroup& cgroup);

// The cgroup of this user's keeper. An error when there is none that is alive,
// and when the kernel would not let us clone from `own`, our cgroup, to there:
// that takes the right to write to the cgroup above both.
absl::StatusOr<Placement> FindKeeper(const kernel::Cgroup& own);

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_KEEPER_H_
