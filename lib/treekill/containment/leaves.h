// The leaves that there are on this machine, whoever has made them: known by
// their names, see leaf_name.h.
#ifndef TREEKILL_CONTAINMENT_LEAVES_H_
#define TREEKILL_CONTAINMENT_LEAVES_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/cgroup.h"

namespace treekill::containment {

// The whole cgroup v2 hierarchy, as far as it is mounted here.
// kFailedPrecondition when it is not.
absl::StatusOr<kernel::Cgroup> OpenHierarchy();

// Calls `visit` with every leaf below `root`: its parent, the name of its
// directory, and what that says. Looks into one, for those of nested runs, if
// `visit` returns true. As Cgroup::VisitBelow() otherwise.
using LeafVisitor = std::function<absl::StatusOr<bool>(
    const kernel::Cgroup& parent, const std::string& directory,
    const LeafName& leaf)>;
absl::Status VisitLeaves(const kernel::Cgroup& root, const LeafVisitor& visit);

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_LEAVES_H_
