// A leaf's name says what it is, and whose:
//
//   treekill-[NAME-]PID-TIME[-NAMESPACE]
//
// PID is the process that has made it, TIME (16 hexadecimal digits) the moment
// of that in nanoseconds since boot, and NAMESPACE the inode of the process's
// PID namespace, if that is not the machine's first. A process which is PID now
// is the owner if it has started before TIME; one that was given the number
// again has started later. Cgroups do not outlive a boot.
#ifndef TREEKILL_CONTAINMENT_LEAF_NAME_H_
#define TREEKILL_CONTAINMENT_LEAF_NAME_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/fd.h"

namespace treekill::containment {

// Who is to end a leaf.
struct LeafOwner {
  pid_t pid = 0;
  // A moment of kernel::BootTimeNow() at which the owner was alive.
  absl::Duration moment;
  // 0 when it could not be found out.
  uint64_t pid_namespace = 0;
};

// Are the pids of its PID namespace ours?
bool IsOfOurNumbers(const LeafOwner& owner);

// This process, now.
LeafOwner ThisProcess();

struct LeafName {
  // Of TreeOptions::name; may be empty.
  std::string name;
  LeafOwner owner;
};

// For a leaf that this process makes now; no other thread of it gets the same.
std::string NewLeafName(const std::string& name);

std::string FormatLeafName(const LeafName& leaf);
// nullopt for a name that is not of that form: not a leaf of ours.
std::optional<LeafName> ParseLeafName(const std::string& text);

// Is the cgroup of that path, as in /proc/PID/cgroup, the one of that name, or
// below it?
bool IsInLeaf(const std::string& cgroup, const std::string& leaf_name);

// Names `owner` instead of the process that has made the leaf.
absl::Status SetOwner(const kernel::Cgroup& leaf, const LeafOwner& owner);
// Marks the leaf as one that is to be left alone when its owner is gone.
absl::Status SetKept(const kernel::Cgroup& leaf);

// Says that somebody else than its owner is about to end it, and asks that:
// what would be kept (LeakPolicy) is not to be.
absl::Status SetBeingEnded(const kernel::Cgroup& leaf);
bool IsBeingEnded(const kernel::Cgroup& leaf);

// What tells the members of a leaf from those that have got away, for whoever
// looks at it from outside.
struct LeaderMark {
  pid_t pid = 0;
  // When it was started.
  pid_t process_group = 0;
  pid_t session = 0;
  uid_t uid = 0;
  // PR_SET_PDEATHSIG.
  bool dies_with_parent = false;
  // The leaf's owner adopts the tree's orphans.
  bool owner_adopts = false;
};

// "12 12 1 0 1 0", of at most kLeaderMarkSize bytes.
std::string FormatLeader(const LeaderMark& leader);
std::optional<LeaderMark> ParseLeader(const std::string& text);
constexpr size_t kLeaderMarkSize = 48;

// `leaf_fd` is the leaf's directory, called `shown`.
absl::Status SetLeader(int leaf_fd, const std::string& shown,
                       const LeaderMark& leader);
// As the owner has set it who gave the leaf its name. nullopt when it has none,
// or that cannot be read, or IsOfOurNumbers() is not so.
std::optional<LeaderMark> FindLeader(const kernel::Cgroup& leaf,
                                     const LeafOwner& owner);

enum class OwnerState {
  kAlive,
  kGone,
  // It lives, or not, where it cannot be seen from here: in another PID
  // namespace, or by another clock.
  kUnknown,
  // SetKept().
  kKept,
};

// A leaf's owner as it is seen from here.
struct OwnerSight {
  // SetKept(); then the owner is who would have to end it else.
  bool kept = false;
  // Not kKept.
  OwnerState state = OwnerState::kUnknown;
  // With kAlive, in our PID namespace. With kGone the number that it had in its
  // own; with kUnknown 0.
  pid_t pid = 0;
};
// `named` is what the leaf's name says. An error when it could not be found
// out: nobody's life is to depend on whether a descriptor was left to look
// with. kNotFound when the leaf has gone.
absl::StatusOr<OwnerSight> SeeOwner(const kernel::Cgroup& leaf,
                                    const LeafOwner& named);
// Without a leaf, that is without marks.
absl::StatusOr<OwnerSight> SeeOwner(const LeafOwner& owner);

// Of whoever is to end the leaf, if he is alive.
struct OwnerWatch {
  OwnerState state = OwnerState::kUnknown;
  // With kAlive: readable when he has ended.
  pid_t pid = 0;
  kernel::UniqueFd pidfd;
};
absl::StatusOr<OwnerWatch> WatchOwner(const kernel::Cgroup& leaf,
                                      const LeafOwner& named);

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_LEAF_NAME_H_
