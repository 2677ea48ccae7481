// Where cgroup v2 is mounted: /proc/self/mountinfo, see proc(5).
#ifndef TREEKILL_KERNEL_MOUNTS_H_
#define TREEKILL_KERNEL_MOUNTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace treekill::kernel {

struct CgroupMount {
  std::string mount_point;
  // Which cgroup is seen at the mount point: "/" but for bind mounts and
  // mounts made in another cgroup namespace ("/.." then leads out of ours).
  std::string root;
  bool read_only = false;
  // Of the mount and of the file system: "rw,nosuid,relatime,nsdelegate".
  std::string options = {};
};

struct CgroupMounts {
  std::vector<CgroupMount> v2;
  // True when v1 hierarchies are mounted: a hybrid machine if v2 is too.
  bool has_v1 = false;
};

// Takes the text of a mountinfo file; lines that it does not understand are
// passed over.
CgroupMounts ParseCgroupMounts(const std::string& mountinfo);

absl::StatusOr<CgroupMounts> ReadCgroupMounts();

// Returns the directory at which `cgroup` (the path of a "0::" line) is seen
// through `mount`, or "" when it lies outside the part that is mounted there.
std::string DirectoryOfCgroup(const CgroupMount& mount,
                              const std::string& cgroup);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_MOUNTS_H_
