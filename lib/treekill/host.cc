#include "treekill/host.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <memory>

#include "absl/status/statusor.h"
#include "treekill/containment/keeper.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/placement.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/mounts.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/systemd/delegation.h"

namespace treekill {
namespace {

void ProbeMounts(HostInfo* host) {
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok() || mounts->v2.empty()) return;
  host->layout =
      mounts->has_v1 ? CgroupLayout::kHybrid : CgroupLayout::kUnified;
  host->mount_point = mounts->v2.front().mount_point;
  host->mount_options = mounts->v2.front().options;
  host->mount_read_only = mounts->v2.front().read_only;
}

void ProbeKeeper(const kernel::Cgroup& own, HostInfo* host) {
  absl::StatusOr<containment::Placement> keeper = containment::FindKeeper(own);
  host->keeper_error = keeper.status();
  if (keeper.ok()) host->keeper = keeper->parent.path();
}

absl::Status ProbeLeaf(HostInfo* host) {
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  if (!placement.ok()) return placement.status();
  host->own_cgroup = placement->parent.path();
  host->own_cgroup_owner = placement->parent.owner();
  host->own_cgroup_writable = placement->parent.IsWritable();
  ProbeKeeper(placement->parent, host);
  // The root of all has none.
  absl::Status kill =
      placement->parent.OpenControl("cgroup.kill", O_PATH).status();
  if (kill.ok()) host->cgroup_kill = kill;
  host->delegated = placement->right == containment::PlacementRight::kDelegated;
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
      containment::HoldInCgroup(*placement, containment::NewLeafName("probe"));
  if (!hold.ok()) return hold.status();
  host->cgroup_kill =
      (*hold)->kill_fd() >= 0
          ? absl::OkStatus()
          : absl::UnimplementedError("the kernel has none (before Linux 5.14)");
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
  host.clone_into_cgroup = kernel::ProbeCloneIntoCgroup();
  host.pidfd_signals = kernel::ProbePidfdSignals();
  host.keeper_error = absl::NotFoundError("our own cgroup is not to be seen");
  host.cgroup_kill = absl::UnknownError("no cgroup of ours to look for it");
  host.cgroup = ProbeLeaf(&host);
  if (host.cgroup.ok()) host.strongest = Containment::kCgroup;
  return host;
}

}  // namespace treekill
