// One cgroup v2 directory, pinned by a descriptor, and the trees below it. See
// Documentation/admin-guide/cgroup-v2.rst of the kernel.
//
// A path can be recycled; the descriptor cannot. Everything here goes through
// the descriptor, the path only serves messages.
#ifndef TREEKILL_KERNEL_CGROUP_H_
#define TREEKILL_KERNEL_CGROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

// The processes of a cgroup and of all below it.
struct CgroupMembers {
  std::vector<pid_t> pids;
  // The ids of the cgroups that were read: what CgroupIdOf() a member must be.
  std::unordered_set<uint64_t> cgroup_ids;
};

class Cgroup final {
 public:
  // Opens an existing cgroup directory. kFailedPrecondition when `path` is a
  // directory of another file system.
  static absl::StatusOr<Cgroup> Open(const std::string& path);

  // Makes the cgroup `name` below this one and opens it. kAlreadyExists when
  // there is one of that name.
  absl::StatusOr<Cgroup> MakeChild(const std::string& name) const;

  // Opens the cgroup `name` below this one, giving ourselves the permission if
  // its mode does not. kNotFound when there is none.
  absl::StatusOr<Cgroup> OpenChild(const std::string& name) const;

  // Takes an open directory that is known to be a cgroup's; `path` serves
  // messages.
  static Cgroup Adopt(UniqueFd directory, std::string path) {
    return Cgroup(std::move(directory), std::move(path));
  }

  // May we make a cgroup below this one, as far as its mode tells?
  bool IsWritable() const;

  // Opens a control file such as "cgroup.events".
  absl::StatusOr<UniqueFd> OpenControl(const std::string& file,
                                       int flags) const;

  // Every member, nested cgroups included. One read of each cgroup.procs: with
  // members that fork, a moment's picture. A cgroup that goes away meanwhile
  // has no members. Pids of other PID namespaces (0) are left out.
  // A nested cgroup that is closed by its mode is opened if it is ours, unless
  // it is only to be looked at: then it is passed over.
  enum class Modes { kOpen, kLeave };
  absl::StatusOr<CgroupMembers> Members(Modes modes = Modes::kOpen) const;

  // Thaws this cgroup and everything below it, so that signals reach frozen
  // members.
  absl::Status Thaw() const;

  // Freezes this cgroup and with it everything below, or ends that:
  // cgroup.freeze (Linux 5.2). Returns before everybody is frozen. Who is born
  // meanwhile is born frozen, and SIGKILL ends those who are.
  absl::Status SetFrozen(bool frozen) const;

  // Extended attributes of the directory, for what outlives this process:
  // "user.*", Linux 5.7. nullopt without one; an error when that could not be
  // found out.
  absl::Status SetAttribute(const std::string& name,
                            const std::string& value) const;
  absl::StatusOr<std::optional<std::string>> Attribute(
      const std::string& name) const;

  // Calls `visit` with every cgroup below this one, top down: its parent and
  // its name. Does not look below one for which it returns false, nor into
  // those that we may not read. Its first error ends the visit.
  using Visitor = std::function<absl::StatusOr<bool>(const Cgroup& parent,
                                                     const std::string& name)>;
  absl::Status VisitBelow(const Visitor& visit) const;

  // Opens what VisitBelow() has shown as a parent, by its path(). However deep
  // that is, and never through a symbolic link.
  absl::StatusOr<Cgroup> OpenBelow(const std::string& path) const;

  // Removes the child `name`, and first all that is below it if need be, bottom
  // up; a nested directory that is closed by its mode is opened if it is ours.
  // OK when it has gone already; IsBusy() while a member is not quite gone: try
  // again later.
  absl::Status RemoveChild(const std::string& name) const;

  // The inode of the directory, which is the cgroup's id; 0 when it cannot be
  // read.
  uint64_t id() const;
  // Whose the directory is; -1 when that cannot be read.
  uid_t owner() const;
  int fd() const { return directory_.get(); }
  const std::string& path() const { return path_; }

 private:
  Cgroup(UniqueFd directory, std::string path)
      : directory_(std::move(directory)), path_(std::move(path)) {}

  UniqueFd directory_;
  std::string path_;
};

// Sets an extended attribute of the cgroup behind `cgroup_fd`, which may be of
// O_PATH. Those of user.* there are since Linux 5.7: EOPNOTSUPP.
absl::Status SetCgroupAttribute(int cgroup_fd, const std::string& name,
                                const std::string& value,
                                const std::string& shown);

// Moves a process to the cgroup behind `cgroup_fd`, called `shown`. Both, and
// what is above them as far as that is the same, must be ours to write to.
absl::Status MoveToCgroup(pid_t pid, int cgroup_fd, const std::string& shown);

// Does `status` say that a member or a nested cgroup is still there (EBUSY,
// ENOTEMPTY)?
bool IsBusy(const absl::Status& status);

// Writes "1" to an open cgroup.kill: SIGKILL to every member and all below,
// whatever its uid, frozen or stopped or not. Returns before they are dead. OK
// when the cgroup has gone.
absl::Status WriteKill(int kill_fd, const std::string& shown);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_CGROUP_H_
