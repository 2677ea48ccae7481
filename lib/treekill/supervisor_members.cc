// Who is alive of a tree, those that have moved out of its leaf included.
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/subreaper.h"
#include "treekill/supervisor_impl.h"

namespace treekill {

internal::TreeBounds internal::BoundsOf(const TreeState& tree) {
  bool own_group = tree.options.new_process_group ||
                   tree.report.containment == Containment::kProcessGroup;
  bool reaper_sets_it =
      tree.reaper != nullptr &&
      tree.options.on_supervisor_death != OnSupervisorDeath::kLeave;
  TreeBounds bounds{
      .leader = tree.report.leader,
      .process_group = own_group ? tree.report.leader : getpgrp(),
      .session = getsid(0),
      .uid = geteuid(),
      .dies_with_parent = tree.parent_death_signal || reaper_sets_it,
      .leaf_name = tree.hold->cgroup_fd() >= 0 ? tree.leaf_name : "",
      .has_cgroup_kill = tree.hold->kill_fd() >= 0,
      .stdout_target = tree.stdout_target,
      .stderr_target = tree.stderr_target};
  if (tree.reaper != nullptr) bounds.adopters = tree.reaper->processes();
  if (tree.supervisor != nullptr && tree.supervisor->adopts_orphans()) {
    bounds.adopters.push_back(getpid());
  }
  return bounds;
}

absl::StatusOr<std::vector<pid_t>> internal::FindPids(const TreeState& tree) {
  absl::StatusOr<std::vector<pid_t>> pids = tree.hold->Members();
  if (!pids.ok()) return pids.status();
  if (tree.supervisor != nullptr && tree.supervisor->adopts_orphans()) {
    absl::StatusOr<std::vector<pid_t>> ours =
        tree.supervisor->DescendantsOfTrees();
    if (!ours.ok()) return ours.status();
    pids->insert(pids->end(), ours->begin(), ours->end());
    std::sort(pids->begin(), pids->end());
    pids->erase(std::unique(pids->begin(), pids->end()), pids->end());
  }
  std::erase_if(*pids, [&tree](pid_t pid) { return IsSetApart(tree, pid); });
  return pids;
}

bool internal::IsSetApart(const TreeState& tree, pid_t pid) {
  if (tree.kept_leaf_name.empty()) return false;
  absl::StatusOr<std::string> cgroup = kernel::ReadCgroupOfProcess(pid);
  return cgroup.ok() && containment::IsInLeaf(*cgroup, tree.kept_leaf_name);
}

void internal::MarkLeader(const TreeState& tree, int leaf_fd,
                          const std::string& shown) {
  TreeBounds bounds = BoundsOf(tree);
  // Those who look from outside see less without.
  (void)containment::SetLeader(leaf_fd, shown,
                               {.pid = bounds.leader,
                                .process_group = bounds.process_group,
                                .session = bounds.session,
                                .uid = bounds.uid,
                                .dies_with_parent = bounds.dies_with_parent,
                                .owner_adopts = !bounds.adopters.empty()});
}

absl::StatusOr<std::vector<Member>> internal::FindMembers(
    const TreeState& tree) {
  absl::StatusOr<std::vector<pid_t>> pids = FindPids(tree);
  if (!pids.ok()) return pids.status();
  return DescribeTree(*pids, BoundsOf(tree));
}

// With adopt_orphans: everybody below this process who is neither a child from
// before nor a helper, nor below one.
absl::StatusOr<std::vector<pid_t>> Supervisor::Impl::DescendantsOfTrees()
    const {
  absl::StatusOr<std::vector<pid_t>> children = kernel::ListLiveChildren();
  if (!children.ok()) return children.status();
  std::vector<pid_t> found;
  for (pid_t pid : *children) {
    if (!IsOurOwn(pid)) found.push_back(pid);
  }
  absl::StatusOr<std::vector<kernel::ProcessStat>> below =
      kernel::ListDescendants(found);
  if (!below.ok()) return below.status();
  for (const kernel::ProcessStat& process : *below) {
    found.push_back(process.pid);
  }
  return found;
}

}  // namespace treekill
