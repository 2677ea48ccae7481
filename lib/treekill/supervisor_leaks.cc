// What becomes of those who outlive the leader: ended, waited for, or kept.
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/proc.h"
#include "treekill/supervisor_impl.h"

namespace treekill {

using internal::NoteError;
using internal::Phase;
using internal::TreeState;

namespace {

// Who was just being born when it was looked is found by the next look; frozen,
// they have no more children.
constexpr int kLooks = 8;

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

absl::StatusOr<kernel::Cgroup> LeafOf(const TreeState& tree) {
  return tree.placement->parent.OpenChild(tree.leaf_name);
}

}  // namespace

absl::Status internal::CheckLeaks(const TreeOptions& options,
                                  const Attempt& attempt) {
  bool in_cgroup = !IsWeaker(attempt.containment, Containment::kCgroup);
  if (in_cgroup || !Keeps(options.leaks)) return absl::OkStatus();
  absl::Status refused = absl::FailedPreconditionError(
      absl::StrCat("what outlives the command can be kept in a cgroup only, "
                   "and it would be held by a ",
                   ContainmentName(attempt.containment)));
  if (attempt.reason.ok()) return refused;
  return absl::FailedPreconditionError(
      absl::StrCat(refused.message(), ": ", attempt.reason.message()));
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
  tree.report.kept = Describe(tree);
  absl::Status marked = containment::SetKept(*leaf);
  if (!marked.ok()) {
    tree.report.kept.clear();
    return kernel::WithContext(marked, "cannot keep what outlived the command");
  }
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
  absl::StatusOr<kernel::Cgroup> leaf = LeafOf(tree);
  if (!leaf.ok()) return leaf.status();
  std::string name = containment::NewLeafName(tree.options.name);
  absl::StatusOr<kernel::Cgroup> kept = parent.MakeChild(name);
  if (!kept.ok()) return kept.status();
  tree.kept_leaf_name = name;
  absl::Status moved = containment::SetKept(*kept);
  if (moved.ok()) moved = leaf->SetFrozen(true);
  if (moved.ok()) moved = MoveWanted(tree, *kept);
  moved.Update(leaf->SetFrozen(false));
  if (tree.report.kept.empty()) {
    (void)parent.RemoveChild(name);
  } else {
    tree.report.kept_leaf = kept->path();
  }
  return moved;
}

absl::Status Supervisor::Impl::MoveWanted(TreeState& tree,
                                          const kernel::Cgroup& kept) {
  std::set<pid_t> wanted;
  for (int look = 0; look < kLooks; ++look) {
    std::vector<Member> found =
        FindWanted(Describe(tree), tree.options.leaks.keep, &wanted);
    if (found.empty()) return absl::OkStatus();
    for (Member& member : found) {
      // Frozen, it does not end, so that its pid is its own.
      absl::Status moved =
          kernel::MoveToCgroup(member.pid, kept.fd(), kept.path());
      // It was killed.
      if (kernel::StatusErrno(moved) == ESRCH) continue;
      if (!moved.ok()) return moved;
      absl::StatusOr<std::string> cgroup =
          kernel::ReadCgroupOfProcess(member.pid);
      // It was killed, or its main thread has ended: others are not moved then.
      bool is_there =
          cgroup.ok() && internal::IsInLeaf(*cgroup, tree.kept_leaf_name);
      if (!is_there) continue;
      member.cgroup = *std::move(cgroup);
      tree.report.kept.push_back(std::move(member));
    }
  }
  return absl::OkStatus();
}

}  // namespace treekill
