#include "treekill/containment/leaves.h"

#include <optional>

#include "treekill/kernel/mounts.h"

namespace treekill::containment {

absl::StatusOr<kernel::Cgroup> OpenHierarchy() {
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok()) return mounts.status();
  if (mounts->v2.empty()) {
    return absl::FailedPreconditionError(
        "no cgroup v2 is mounted here (no cgroup2 line in "
        "/proc/self/mountinfo)");
  }
  return kernel::Cgroup::Open(mounts->v2.front().mount_point);
}

absl::Status VisitLeaves(const kernel::Cgroup& root, const LeafVisitor& visit) {
  return root.VisitBelow(
      [&](const kernel::Cgroup& parent,
          const std::string& directory) -> absl::StatusOr<bool> {
        std::optional<LeafName> leaf = ParseLeafName(directory);
        if (!leaf.has_value()) return true;
        return visit(parent, directory, *leaf);
      });
}

}  // namespace treekill::containment
