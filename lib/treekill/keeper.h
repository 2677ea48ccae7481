// A keeper owns a cgroup that systemd has delegated to it. Supervisors of the
// same user that may not make cgroups where they are make them below it: that
// takes no word with systemd, and none with the keeper. What they leave behind
// when they are killed together with their guardians, the keeper ends.
#ifndef TREEKILL_KEEPER_H_
#define TREEKILL_KEEPER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/gc.h"

namespace treekill {

struct KeeperOptions {
  // How often all cgroups of the machine are looked through, for what was made
  // elsewhere, such as in scopes. Below its own cgroup the keeper knows of a
  // supervisor's death at once.
  absl::Duration sweep_interval = absl::Minutes(1);
};

// For a process of its own: see cli/keeper.cc and treekill-keeper.service.
//
// Threads: one at a time. Not for a process that forks.
class Keeper final {
 public:
  // Moves this process to the cgroup "supervisor" below its own, which must
  // have been delegated (Delegate=yes in its unit) where systemd runs, and
  // leaves word for supervisors: the symbolic link /run/treekill/keeper, or
  // $XDG_RUNTIME_DIR/treekill/keeper, to its own cgroup. Tells the service
  // manager that it is ready (sd_notify(3)). kAlreadyExists: this user has a
  // keeper.
  static absl::StatusOr<Keeper> Start(
      const KeeperOptions& options = KeeperOptions());

  Keeper(Keeper&&) noexcept;
  Keeper& operator=(Keeper&&) noexcept;
  // Removes the link. Trees go on.
  ~Keeper();

  // The directory that leaves are made in.
  std::string cgroup() const;

  // Readable when Dispatch() has something to do. Owned by the Keeper.
  int fd() const;

  // Does what there is to do, and tells what was ended. Blocks until that is
  // drained. An error says what could not be done this time.
  absl::StatusOr<std::vector<Garbage>> Dispatch();

 private:
  class Impl;
  explicit Keeper(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace treekill

#endif  // TREEKILL_KEEPER_H_
