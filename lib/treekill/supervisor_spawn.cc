// The start of a tree: placed, guarded, born; or nothing of it left.
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/error.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/supervisor_impl.h"
#include "treekill/supervisor_journal.h"

namespace treekill {

using internal::Attempt;
using internal::KeyOf;
using internal::Source;
using internal::TreeState;

namespace {

// Is it the place that the new process could not be born into?
bool BlamesPlace(const absl::Status& failure) {
  std::string call = CallOf(failure);
  if (call != "clone3" && call != "write") return false;
  switch (ErrnoOf(failure)) {
    case EACCES:
    case EPERM:
    case EBUSY:
    case EOPNOTSUPP:
    case ENODEV:
    case ENOENT:
      return true;
    default:
      return false;
  }
}

// `ours` is the descriptor that an inherited stream is.
std::string TargetOf(const Stream& stream, int ours) {
  if (stream.is_null()) return "";
  return internal::StreamTarget(stream.inherits() ? ours : stream.fd());
}

}  // namespace

absl::StatusOr<std::shared_ptr<TreeState>> Supervisor::Impl::Spawn(
    const Command& command, const TreeOptions& options) {
  for (const absl::Status& valid : {Validate(command), Validate(options),
                                    internal::CheckJournal(options)}) {
    if (!valid.ok()) return valid;
  }
  if (options_.adopt_orphans && !trees_.empty()) {
    return absl::FailedPreconditionError(
        "a supervisor that adopts orphans holds one tree at a time: whose an "
        "orphan is could not be told");
  }
  Attempt attempt{.containment = FirstContainment(options),
                  .reason = no_cgroup_};
  absl::Status leaks = internal::CheckLeaks(options, attempt);
  if (!leaks.ok()) return leaks;
  absl::StatusOr<std::shared_ptr<TreeState>> tree =
      TryToSpawn(command, options, &attempt);
  while (attempt.no_place || KeeperHasGone(tree.status())) {
    absl::Status less = GoDown(tree.status(), options, &attempt);
    tree = less.ok() ? TryToSpawn(command, options, &attempt) : less;
  }
  if (!tree.ok()) {
    reserve_.clear();
    return tree;
  }
  trees_.emplace((*tree)->id, *tree);
  internal::JournalStart(**tree);
  // What has come beside an answer makes no descriptor readable.
  if (systemd_.has_value()) OnSystemdEvent();
  return tree;
}

absl::StatusOr<std::shared_ptr<TreeState>> Supervisor::Impl::TryToSpawn(
    const Command& command, const TreeOptions& options, Attempt* attempt) {
  attempt->no_place = false;
  absl::Status reserved = FillReserve();
  if (!reserved.ok()) return reserved;
  auto tree = std::make_shared<TreeState>();
  tree->id = next_id_++;
  tree->supervisor = this;
  tree->owner = owner_;
  tree->options = options;
  tree->report.name = options.name;
  tree->report.argv = command.argv;
  tree->leaf_name = containment::NewLeafName(options.name);
  if (options.describe_members) {
    tree->stdout_target = TargetOf(command.stdout_, STDOUT_FILENO);
    tree->stderr_target = TargetOf(command.stderr_, STDERR_FILENO);
  }
  tree->parent_death_signal = internal::WantsParentDeathSignal(options);
  tree->report.containment = attempt->containment;
  tree->report.containment_error = attempt->reason;
  absl::Status started = StartTree(*tree, command, attempt);
  if (!started.ok()) return started;
  return tree;
}

absl::Status Supervisor::Impl::StartTree(TreeState& tree,
                                         const Command& command,
                                         Attempt* attempt) {
  internal::ComingLeader leader;
  absl::Status ready =
      leader.plan.Prepare(command, tree.options.new_process_group);
  if (!ready.ok()) return ready;
  if (tree.parent_death_signal ||
      (attempt->containment == Containment::kSubreaper &&
       tree.options.on_supervisor_death != OnSupervisorDeath::kLeave)) {
    leader.plan.SetParentDeathSignal(SIGKILL);
  }
  ready = PlaceTree(tree, &leader, attempt);
  if (!ready.ok()) return ready;
  ready = PrepareForDeath(tree);
  if (!ready.ok()) return ready;
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold = MakeHold(tree);
  if (!hold.ok()) {
    attempt->no_place = !internal::LacksResources(hold.status());
    Unguard(tree);
    return hold.status();
  }
  tree.hold = *std::move(hold);
  if (tree.hold->NeedsProcessGroup()) leader.plan.NeedProcessGroup();
  tree.report.leaf = tree.hold->path();
  ready = HandOver(tree);
  if (ready.ok()) ready = StartLeader(tree, command, &leader, attempt);
  if (!ready.ok()) {
    leader.parked.reset();
    Abandon(tree);
  }
  return ready;
}

absl::StatusOr<kernel::Child> Supervisor::Impl::BringToLife(
    const TreeState& tree, internal::ComingLeader* leader) {
  if (leader->parked == nullptr) {
    return tree.hold->Start(leader->plan.plan());
  }
  absl::Status moved = kernel::MoveToCgroup(
      leader->parked->pid(), tree.hold->cgroup_fd(), tree.hold->path());
  if (!moved.ok()) return moved;
  return leader->parked->Release();
}

absl::Status Supervisor::Impl::StartLeader(TreeState& tree,
                                           const Command& command,
                                           internal::ComingLeader* leader,
                                           Attempt* attempt) {
  tree.report.started = absl::Now();
  tree.started = kernel::MonotonicNow();
  tree.timeout_end = tree.started + tree.options.timeout;
  absl::StatusOr<kernel::Child> child = BringToLife(tree, leader);
  if (!child.ok()) {
    attempt->no_place =
        tree.placement != nullptr && BlamesPlace(child.status());
    std::string place = tree.hold->path();
    return kernel::WithContext(
        child.status(), absl::StrCat("cannot run ", command.argv[0],
                                     place.empty() ? "" : " in ", place));
  }
  if (child->failure.stage != kernel::ChildStage::kNone) {
    return SpawnFailure(child->failure, command);
  }
  tree.report.leader = child->pid;
  tree.pidfd = std::move(child->pidfd);
  tree.hold->SetLeader(child->pid, tree.pidfd.get());
  if (tree.hold->cgroup_fd() >= 0) {
    internal::MarkLeader(tree, tree.hold->cgroup_fd(), tree.hold->path());
  }
  absl::Status watched = loop_.Watch(internal::LeaderFd(tree), EPOLLIN,
                                     KeyOf(tree.id, Source::kLeader));
  if (!watched.ok()) return watched;
  SetAlarm(tree, tree.timeout_end);
  return ArmTimer();
}

// A start that failed half way: nothing may be left, and there is nobody yet
// who would serve the tree. What is alive, if anything, has just been born.
void Supervisor::Impl::Abandon(TreeState& tree) {
  SetAlarm(tree, absl::InfiniteDuration());
  reserve_.clear();
  bool born = tree.report.leader != 0;
  absl::Duration end =
      kernel::MonotonicNow() +
      kernel::TimeLimit("drain", tree.options.teardown.drain_timeout);
  while (true) {
    if (born) {
      (void)tree.Kill();
      ReapLeader(tree);
    }
    bool gone = !born || tree.reaped;
    if (gone && !kernel::IsBusy(tree.hold->Remove())) break;
    if (kernel::MonotonicNow() > end) {
      tree.hold->GiveUp();
      break;
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  Unguard(tree);
}

}  // namespace treekill
