// SupervisorOptions::adopt_orphans: the processes that have moved out of their
// leaf come back as orphans, and are found here.
#include <algorithm>
#include <csignal>

#include "treekill/kernel/subreaper.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/supervisor_impl.h"

namespace treekill {

using internal::TreeState;

// A program that was execed in the place of a shell keeps the shell's children.
absl::Status Supervisor::Impl::Adopt() {
  absl::StatusOr<bool> any = ReapChildren();
  if (!any.ok()) return any.status();
  if (*any) {
    absl::StatusOr<std::vector<pid_t>> children = kernel::ListLiveChildren();
    if (!children.ok()) return children.status();
    foreign_children_.insert(children->begin(), children->end());
  }
  return kernel::BecomeSubreaper();
}

void Supervisor::Impl::ReapAdopted() {
  (void)ReapChildren();
  // The end of an orphan is no event of its tree.
  std::vector<std::shared_ptr<TreeState>> waiting;
  for (const auto& [id, tree] : trees_) {
    if (tree->awaits_orphans) waiting.push_back(tree);
  }
  for (const std::shared_ptr<TreeState>& tree : waiting) TryFinish(*tree);
}

// Returns whether there are children left. Those that are reaped here lose
// their pids, and must not be signalled any more.
absl::StatusOr<bool> Supervisor::Impl::ReapChildren() {
  absl::StatusOr<kernel::Reaped> reaped = kernel::ReapOrphans([&](pid_t pid) {
    if (IsHelper(pid)) return true;
    for (const auto& [id, tree] : trees_) {
      if (tree->report.leader == pid && !tree->reaped) return true;
      if (tree->reaper != nullptr && tree->reaper->outer() == pid) return true;
    }
    return false;
  });
  if (!reaped.ok()) return reaped.status();
  for (pid_t pid : reaped->pids) {
    foreign_children_.erase(pid);
    for (const auto& [id, tree] : trees_) tree->strays.erase(pid);
  }
  return reaped->any_left;
}

bool Supervisor::Impl::IsOurOwn(pid_t pid) const {
  if (foreign_children_.count(pid) > 0 || IsHelper(pid)) return true;
  return std::any_of(trees_.begin(), trees_.end(), [pid](const auto& entry) {
    const TreeState& tree = *entry.second;
    return tree.reaper != nullptr && tree.reaper->IsReaper(pid);
  });
}

// The children that are left when no tree is: orphans that have moved out of
// the leaf, and members that are dying and do not count as live any more.
absl::StatusOr<std::vector<pid_t>> Supervisor::Impl::FindOrphans(
    const TreeState& tree) {
  absl::StatusOr<bool> left = ReapChildren();
  if (!left.ok()) return left.status();
  std::vector<pid_t> orphans;
  if (!*left) return orphans;
  absl::StatusOr<std::vector<pid_t>> children = kernel::ListLiveChildren();
  if (!children.ok()) return children.status();
  for (pid_t pid : *children) {
    if (!IsOurOwn(pid) && !internal::IsSetApart(tree, pid))
      orphans.push_back(pid);
  }
  return orphans;
}

bool Supervisor::Impl::OrphansAreGone(TreeState& tree) {
  absl::StatusOr<std::vector<pid_t>> orphans = FindOrphans(tree);
  if (orphans.ok()) {
    for (pid_t pid : *orphans) {
      // A child of ours, and not reaped: the pid is its own. A dying member
      // does not mind; and one that lives in a cgroup which the command has
      // made in the place of its leaf looks like that.
      kernel::Kill(pid, SIGKILL);
      if (tree.strays.insert(pid).second && !tree.hold->Contains(pid)) {
        ++tree.report.strays_killed;
        tree.report.killed = true;
      }
    }
    if (orphans->empty()) return true;
  }
  tree.awaits_orphans = true;
  tree.orphans_unseen = orphans.status();
  return false;
}

}  // namespace treekill
