// What there is to hold trees with on this machine, for this process.
#ifndef TREEKILL_HOST_H_
#define TREEKILL_HOST_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "treekill/containment/kind.h"

namespace treekill {

enum class CgroupLayout {
  // No cgroup v2 is mounted.
  kNone,
  // cgroup v2 only.
  kUnified,
  // cgroup v2 beside v1 hierarchies.
  kHybrid,
};

// "none", "unified", "hybrid".
const char* CgroupLayoutName(CgroupLayout layout);

struct HostInfo {
  // uname(2)'s release.
  std::string kernel;
  CgroupLayout layout = CgroupLayout::kNone;
  // Of the first cgroup2 mount; "" without one.
  std::string mount_point;
  std::string mount_options;
  bool mount_read_only = false;
  // This process's own cgroup directory, where leaves go; "" when it is not to
  // be seen. Whose that is, and whether we may make a directory in it as far as
  // its mode tells.
  std::string own_cgroup;
  uid_t own_cgroup_owner = 0;
  bool own_cgroup_writable = false;
  bool systemd_running = false;
  // systemd has delegated our cgroup, or one above it.
  bool delegated = false;
  // The cgroup of the keeper that may be used (keeper.h), or why none.
  std::string keeper;
  absl::Status keeper_error;

  // What makes the hold of a cgroup simpler; trees are held without, too: a
  // process moves itself, members are frozen and killed one by one, kill(2).
  // kUnknown when that could not be found out.
  absl::Status clone_into_cgroup;
  absl::Status cgroup_kill;
  absl::Status pidfd_signals;

  // OK when trees can be held by a cgroup: a leaf was made, its control files
  // were opened, and it was removed. Else why not, and what to do about it.
  absl::Status cgroup;
  // The strongest that works, scopes not tried.
  Containment strongest = Containment::kSubreaper;
};

// Finds out by trying; makes and removes one leaf. Does not block for long,
// and leaves nothing behind. Thread-safe.
HostInfo ProbeHost();

}  // namespace treekill

#endif  // TREEKILL_HOST_H_
