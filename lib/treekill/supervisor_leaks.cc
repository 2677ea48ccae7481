// What becomes of those who outlive the leader: ended, waited for, or kept.
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/supervisor_impl.h"

namespace treekill {

using internal::MarkLeader;
using internal::NoteError;
using internal::Phase;
using internal::TreeState;

namespace {

// Who was just being born when it was looked is found by the next look; frozen,
// they have no more children.
constexpr int kLooks = 8;
constexpr absl::Duration kLongestFreeze = absl::Milliseconds(250);

// Those whom a pattern means, and who descends from them.
// `wanted` has the pids of those that were found before.
std::vector<Member> FindWanted(const std::vector<Member>& members,
                               const std::vector<std::string>& patterns,
                               std::set<pid_t>* wanted) {
  auto is_wanted = [&](const Member& member) {
    return wanted->count(member.parent) > 0 ||
           std::any_of(patterns.begin(), patterns.end(),
                       [&](const std::string& pattern) {
                         return MatchesPattern(member, pattern);
                       });
  };
  std::vector<Member> found;
  // Which of two is the older one, their start times may not tell.
  for (bool any_new = true; any_new;) {
    any_new = false;
    for (const Member& member : members) {
      if (wanted->count(member.pid) > 0 || !is_wanted(member)) continue;
      any_new = true;
      wanted->insert(member.pid);
      found.push_back(member);
    }
  }
  return found;
}

absl::Status CannotKeep(const absl::Status& why) {
  return kernel::WithContext(why, "cannot keep what outlived the command");
}

// Moves a process to the leaf of that name. False when it is not there then: it
// has ended; or its main thread has, which the kernel does not move.
absl::StatusOr<bool> Bring(const kernel::Cgroup& leaf, const std::string& name,
                           Member* member) {
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(member->pid);
  if (absl::IsNotFound(pidfd.status())) return false;
  if (!pidfd.ok()) return pidfd.status();
  std::optional<kernel::ProcessStat> stat =
      kernel::ReadProcessStat(member->pid);
  bool is_still = stat.has_value() && stat->start_time == member->start_time;
  if (!is_still || kernel::HasEnded(pidfd->get())) return false;
  absl::Status moved =
      kernel::MoveToCgroup(member->pid, leaf.fd(), leaf.path());
  if (kernel::StatusErrno(moved) == ESRCH) return false;
  if (!moved.ok()) return moved;
  absl::StatusOr<std::string> cgroup = kernel::ReadCgroupOfProcess(member->pid);
  bool is_there = cgroup.ok() && containment::IsInLeaf(*cgroup, name) &&
                  !kernel::HasEnded(pidfd->get());
  if (is_there) member->cgroup = *std::move(cgroup);
  return is_there;
}

absl::StatusOr<kernel::Cgroup> LeafOf(const TreeState& tree) {
  return tree.placement->parent.OpenChild(tree.leaf_name);
}

}  // namespace

absl::Status internal::CheckLeaks(const TreeOptions& options,
                                  const Attempt& attempt) {
  bool in_cgroup = !IsWeaker(attempt.containment, Containment::kCgroup);
  if (in_cgroup || !Keeps(options.leaks)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("what outlives the command can be kept in a cgroup only, "
                   "and it would be held by a ",
                   ContainmentName(attempt.containment),
                   attempt.reason.ok() ? "" : ": ", attempt.reason.message()));
}

// Has the leader ended by itself only as far as we can see?
void Supervisor::Impl::NoteEndByName(TreeState& tree) {
  if (tree.report.reason != EndReason::kLeaderExited ||
      tree.hold->cgroup_fd() < 0) {
    return;
  }
  absl::StatusOr<kernel::Cgroup> leaf = LeafOf(tree);
  tree.ended_by_name = leaf.ok() && containment::IsBeingEnded(*leaf);
  if (tree.ended_by_name) tree.report.reason = EndReason::kKilled;
}

// The leader has ended by itself, and somebody of its tree lives.
void Supervisor::Impl::OnLeaks(TreeState& tree) {
  const LeakPolicy& policy = tree.options.leaks;
  if (!policy.keep.empty() && policy.on_leak != OnLeak::kKeep) {
    NoteError(tree, SetApart(tree));
    if (TryFinish(tree)) return;
  }
  switch (policy.on_leak) {
    case OnLeak::kKill:
      break;
    case OnLeak::kWait:
      StartWait(tree);
      return;
    case OnLeak::kKeep: {
      absl::Status kept = KeepAll(tree);
      if (kept.ok()) return;
      NoteError(tree, kept);
      break;
    }
  }
  BeginTeardown(tree, EndReason::kLeaderExited, /*first_signal=*/0);
}

// ----------------------------------------------------------------- waited for

void Supervisor::Impl::StartWait(TreeState& tree) {
  WatchTree(tree);
  tree.phase = Phase::kWait;
  tree.wait_end = tree.ending + tree.options.leaks.wait;
  tree.ask = absl::ZeroDuration();
  WaitOn(tree);
}

void Supervisor::Impl::WaitOn(TreeState& tree) {
  if (TryFinish(tree)) return;
  absl::Duration now = kernel::MonotonicNow();
  if (now >= tree.timeout_end) {
    OnTimeout(tree);
  } else if (now >= tree.wait_end) {
    BeginTeardown(tree, EndReason::kLeaderExited, /*first_signal=*/0);
  } else {
    AskLater(tree);
  }
}

// What follows is measured anew.
void Supervisor::Impl::EndWait(TreeState& tree) {
  absl::Duration now = kernel::MonotonicNow();
  tree.report.wait_time = now - tree.ending;
  tree.ending = now;
}

// ----------------------------------------------------------------------- kept

absl::Status Supervisor::Impl::KeepAll(TreeState& tree) {
  absl::StatusOr<kernel::Cgroup> leaf = LeafOf(tree);
  if (!leaf.ok()) return leaf.status();
  std::vector<Member> members = Describe(tree);
  std::vector<Member> kept;
  for (Member& member : members) {
    // Who had left is brought back, so that it is found by the name.
    absl::StatusOr<bool> is_there = true;
    if (!containment::IsInLeaf(member.cgroup, tree.leaf_name)) {
      is_there = Bring(*leaf, tree.leaf_name, &member);
    }
    if (!is_there.ok()) return CannotKeep(is_there.status());
    if (*is_there) kept.push_back(std::move(member));
  }
  absl::Status marked = containment::SetKept(*leaf);
  if (!marked.ok()) return CannotKeep(marked);
  tree.report.kept = std::move(kept);
  tree.report.kept_leaf = leaf->path();
  tree.hold->Keep();
  ReapLeader(tree);
  tree.report.drained = true;
  Finish(tree);
  return absl::OkStatus();
}

// Into a leaf of their own, so that the other one can be killed as a whole.
absl::Status Supervisor::Impl::SetApart(TreeState& tree) {
  const std::vector<Member> members = Describe(tree);
  std::set<pid_t> wanted;
  if (FindWanted(members, tree.options.leaks.keep, &wanted).empty()) {
    return absl::OkStatus();
  }
  const kernel::Cgroup& parent = tree.placement->parent;
  std::string name = containment::NewLeafName(tree.options.name);
  absl::StatusOr<kernel::Cgroup> kept = parent.MakeChild(name);
  if (!kept.ok()) return CannotKeep(kept.status());
  tree.kept_leaf_name = name;
  absl::Status moved = containment::SetKept(*kept);
  MarkLeader(tree, kept->fd(), kept->path());
  // Who would thaw them, were we killed?
  bool freezes =
      tree.report.on_supervisor_death == OnSupervisorDeath::kKillTree;
  if (freezes) {
    (void)tree.hold->Freeze(kernel::MonotonicNow() + kLongestFreeze);
  }
  if (moved.ok()) moved = MoveWanted(tree, *kept);
  if (freezes) moved.Update(tree.hold->Thaw());
  if (tree.report.kept.empty()) {
    (void)parent.RemoveChild(name);
  } else {
    tree.report.kept_leaf = kept->path();
  }
  return moved.ok() ? moved : CannotKeep(moved);
}

absl::Status Supervisor::Impl::MoveWanted(TreeState& tree,
                                          const kernel::Cgroup& kept) {
  std::set<pid_t> wanted;
  for (int look = 0; look < kLooks; ++look) {
    std::vector<Member> found =
        FindWanted(Describe(tree), tree.options.leaks.keep, &wanted);
    if (found.empty()) return absl::OkStatus();
    for (Member& member : found) {
      absl::StatusOr<bool> is_there = Bring(kept, tree.kept_leaf_name, &member);
      if (!is_there.ok()) return is_there.status();
      if (*is_there) tree.report.kept.push_back(std::move(member));
    }
  }
  return absl::OkStatus();
}

}  // namespace treekill
