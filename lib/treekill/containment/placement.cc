#include "treekill/containment/placement.h"

#include <unistd.h>

#include <cerrno>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/mounts.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/systemd/delegation.h"

namespace treekill::containment {
namespace {

// A bind mount or a foreign namespace can show another cgroup at the place
// where the wanted one ought to be.
absl::StatusOr<bool> HoldsProcess(const kernel::Cgroup& cgroup, pid_t pid) {
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(pid);
  if (pidfd.ok()) {
    std::optional<uint64_t> id = kernel::CgroupIdOf(pidfd->get());
    if (id.has_value()) return *id == cgroup.id();
  }
  absl::StatusOr<std::string> procs = kernel::ReadFile(
      cgroup.fd(), "cgroup.procs", cgroup.path() + "/cgroup.procs");
  if (!procs.ok()) {
    // A threaded cgroup does not list its processes.
    if (kernel::StatusErrno(procs.status()) == EOPNOTSUPP) return true;
    return procs.status();
  }
  std::string wanted = absl::StrCat(pid);
  for (absl::string_view line : absl::StrSplit(*procs, '\n')) {
    if (line == wanted) return true;
  }
  return false;
}

PlacementRight RightTo(const std::string& directory,
                       const std::string& mount_point) {
  if (!systemd::IsRunning()) return PlacementRight::kNoManager;
  return systemd::IsDelegated(directory, mount_point)
             ? PlacementRight::kDelegated
             : PlacementRight::kUndelegated;
}

// The cgroup of that path, as in /proc/PID/cgroup, through the first mount
// where it is to be seen and `is_wanted`.
absl::StatusOr<Placement> FindPlace(
    const std::string& name, const kernel::CgroupMounts& mounts,
    const std::function<absl::StatusOr<bool>(const kernel::Cgroup&)>&
        is_wanted) {
  absl::Status failure = absl::FailedPreconditionError(absl::StrCat(
      "the cgroup ", name, " is not to be seen through any cgroup2 mount"));
  for (const kernel::CgroupMount& mount : mounts.v2) {
    std::string directory = kernel::DirectoryOfCgroup(mount, name);
    if (directory.empty()) continue;
    absl::StatusOr<kernel::Cgroup> cgroup = kernel::Cgroup::Open(directory);
    if (!cgroup.ok()) {
      failure = cgroup.status();
      continue;
    }
    absl::StatusOr<bool> wanted = is_wanted(*cgroup);
    if (!wanted.ok()) failure = wanted.status();
    if (!wanted.ok() || !*wanted) continue;
    return Placement{*std::move(cgroup), RightTo(directory, mount.mount_point)};
  }
  return failure;
}

absl::StatusOr<Placement> FindPlaceOf(pid_t pid, const std::string& name,
                                      const kernel::CgroupMounts& mounts) {
  return FindPlace(name, mounts, [pid](const kernel::Cgroup& cgroup) {
    return HoldsProcess(cgroup, pid);
  });
}

}  // namespace

absl::StatusOr<Placement> FindPlacement() {
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok()) return mounts.status();
  if (mounts->v2.empty()) {
    return kernel::WithHint(
        absl::FailedPreconditionError("no cgroup v2 is mounted here (no "
                                      "cgroup2 line in /proc/self/mountinfo)"),
        "mount one: mount -t cgroup2 none /sys/fs/cgroup");
  }
  absl::StatusOr<std::string> own = kernel::ReadCgroupOfProcess(0);
  if (!own.ok()) return own.status();
  if (absl::EndsWith(*own, " (deleted)")) {
    return absl::FailedPreconditionError(
        absl::StrCat("this process's own cgroup ", *own, " has been removed"));
  }
  return FindPlaceOf(getpid(), *own, *mounts);
}

absl::StatusOr<Placement> PlaceInScope(const std::string& cgroup, pid_t pid) {
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok()) return mounts.status();
  absl::StatusOr<Placement> scope = FindPlaceOf(pid, cgroup, *mounts);
  // A user's manager does not mark what it delegates.
  if (scope.ok()) scope->right = PlacementRight::kDelegated;
  return scope;
}

absl::StatusOr<kernel::Cgroup> OpenCgroup(const std::string& path) {
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok()) return mounts.status();
  absl::StatusOr<Placement> place =
      FindPlace(path, *mounts, [](const kernel::Cgroup&) { return true; });
  if (!place.ok()) return place.status();
  return std::move(place->parent);
}

}  // namespace treekill::containment
