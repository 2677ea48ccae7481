#include "treekill/host.h"

#include <sys/utsname.h>

#include <memory>

#include "absl/status/statusor.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/placement.h"
#include "treekill/kernel/mounts.h"
#include "treekill/systemd/delegation.h"

namespace treekill {
namespace {

void ProbeMounts(HostInfo* host) {
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok() || mounts->v2.empty()) return;
  host->layout =
      mounts->has_v1 ? CgroupLayout::kHybrid : CgroupLayout::kUnified;
  host->mount_point = mounts->v2.front().mount_point;
  host->mount_read_only = mounts->v2.front().read_only;
}

absl::Status ProbeLeaf(HostInfo* host) {
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  if (!placement.ok()) return placement.status();
  host->own_cgroup = placement->parent.path();
  host->delegated = placement->right == containment::PlacementRight::kDelegated;
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
      containment::HoldInCgroup(*placement, containment::NewLeafName("probe"));
  if (!hold.ok()) return hold.status();
  return (*hold)->Remove();
}

}  // namespace

const char* CgroupLayoutName(CgroupLayout layout) {
  switch (layout) {
    case CgroupLayout::kNone:
      return "none";
    case CgroupLayout::kUnified:
      return "unified";
    case CgroupLayout::kHybrid:
      return "hybrid";
  }
  return "unknown";
}

HostInfo ProbeHost() {
  HostInfo host;
  utsname names;
  if (uname(&names) == 0) host.kernel = names.release;
  host.systemd_running = systemd::IsRunning();
  ProbeMounts(&host);
  host.cgroup = ProbeLeaf(&host);
  if (host.cgroup.ok()) host.strongest = Containment::kCgroup;
  return host;
}

}  // namespace treekill
