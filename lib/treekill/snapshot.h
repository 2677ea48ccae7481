// Who is in a tree, what would reach each, and how it got away: internal to
// the library.
#ifndef TREEKILL_SNAPSHOT_H_
#define TREEKILL_SNAPSHOT_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "treekill/member.h"

namespace treekill::internal {

// What the members of a tree are compared with.
struct TreeBounds {
  // 0: it has ended, or is not known.
  pid_t leader = 0;
  // The leader's, when it started. 0: not known.
  pid_t process_group = 0;
  pid_t session = 0;
  uid_t uid = 0;
  // PR_SET_PDEATHSIG is set.
  bool dies_with_parent = false;
  // Of the leaf's directory; "" without one.
  std::string leaf_name = {};
  // It can be killed as a whole: cgroup.kill, Linux 5.14.
  bool has_cgroup_kill = false;
  // Whom the tree's orphans come to, themselves no members; empty when the tree
  // has nobody for that.
  std::vector<pid_t> adopters = {};
  // Where the leader's standard streams go, if that is a pipe or a socket: see
  // kernel::OpenDescriptor.
  std::string stdout_target = {};
  std::string stderr_target = {};
};

// kernel::TargetOfFd() if that is a pipe or a socket, else "".
std::string StreamTarget(int fd);

// How long the command lines of one tree may be waited for, if its processes
// hold them up; without theirs it is described all the same.
constexpr absl::Duration kPatience = absl::Seconds(2);

// Those of `pids` that are alive, oldest first; without reach and escapes. All
// that is told of one is of the same process, also if its pid has been reused
// between `pids` and now: whoever lists them must be sure of that.
std::vector<Member> DescribeMembers(const std::vector<pid_t>& pids);

// The same of a tree's members, with reach and escapes. At `deadline`, of
// kernel::MonotonicNow(), the rest is left out.
std::vector<Member> DescribeTree(
    const std::vector<pid_t>& pids, const TreeBounds& bounds,
    absl::Duration deadline = absl::InfiniteDuration());

}  // namespace treekill::internal

#endif  // TREEKILL_SNAPSHOT_H_
