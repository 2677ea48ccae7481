// What is to become of the trees should this process be killed: the guardian
// is started, told of every change, and replaced when it dies.
#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <utility>
#include <vector>

#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/supervisor_impl.h"

namespace treekill {

using internal::Phase;
using internal::TreeState;

namespace {

// A guardian that does not read for that long does not work. Dispatch() cannot
// wait as Spawn() can.
constexpr absl::Duration kSpawnPatience = absl::Seconds(10);
constexpr absl::Duration kDispatchPatience = absl::Milliseconds(100);
// Until a guardian that could not be replaced is tried again.
absl::Duration TryAgain() {
  return kernel::TimeLimit("guardian-again", absl::Seconds(1));
}
// So many that have not lived as long as that are replaced at once.
constexpr int kMaxDeaths = 100;

guardian::RestOfTeardown RestOf(const TreeState& tree) {
  const TeardownPolicy& policy = tree.options.teardown;
  guardian::RestOfTeardown rest;
  rest.drain_timeout = policy.drain_timeout;
  if (tree.phase != Phase::kGrace) return rest;
  rest.grace_end = tree.grace_end;
  // The guardian cannot tell the leader from a process with its pid.
  if (policy.kill_mode == KillMode::kMixed ||
      policy.kill_mode == KillMode::kProcess) {
    return rest;
  }
  rest.only_group = internal::GroupToSignal(tree, policy.kill_mode);
  for (size_t i = tree.step + 1; i < policy.steps.size(); ++i) {
    rest.steps.push_back({policy.steps[i].signal, policy.steps[i].grace});
  }
  return rest;
}

// All that a guardian has to know of it.
std::vector<guardian::Note> NotesOf(const TreeState& tree) {
  std::vector<guardian::Note> notes = {
      guardian::PrepareNote(tree.id, tree.placement->parent, tree.leaf_name,
                            tree.options.teardown.drain_timeout)};
  if (tree.hold != nullptr) {
    notes.push_back(guardian::HoldNote(tree.id, *tree.hold));
  }
  if (tree.phase == Phase::kGrace) {
    notes.push_back(guardian::GraceNote(tree.id, RestOf(tree)));
  }
  return notes;
}

}  // namespace

bool internal::WantsParentDeathSignal(const TreeOptions& options) {
  switch (options.on_supervisor_death) {
    case OnSupervisorDeath::kLeave:
      return false;
    case OnSupervisorDeath::kKillLeader:
      return true;
    case OnSupervisorDeath::kKillTree:
      break;
  }
  switch (options.parent_death_signal) {
    case ParentDeathSignal::kFromMainThread:
      return gettid() == getpid();
    case ParentDeathSignal::kAlways:
      return true;
    case ParentDeathSignal::kNever:
      break;
  }
  return false;
}

// Before the leaf is made: from its first moment on there is somebody who will
// remove it.
absl::Status Supervisor::Impl::PrepareForDeath(TreeState& tree) {
  tree.guarded =
      tree.placement != nullptr &&
      tree.options.on_supervisor_death == OnSupervisorDeath::kKillTree;
  NoteGuard(tree, tree.guarded ? Guard(tree) : absl::OkStatus());
  if (tree.report.guardian_error.ok()) return absl::OkStatus();
  if (!tree.options.guardian_optional) return tree.report.guardian_error;
  tree.guarded = false;
  return absl::OkStatus();
}

// Before the leader is started.
absl::Status Supervisor::Impl::HandOver(TreeState& tree) {
  if (tree.options.on_supervisor_death == OnSupervisorDeath::kLeave &&
      tree.placement != nullptr) {
    absl::StatusOr<kernel::Cgroup> leaf =
        tree.placement->parent.OpenChild(tree.leaf_name);
    return leaf.ok() ? containment::SetKept(*leaf) : leaf.status();
  }
  if (!tree.guarded) return absl::OkStatus();
  absl::Status handed =
      guardian_->Tell(guardian::HoldNote(tree.id, *tree.hold), kSpawnPatience);
  if (!handed.ok()) {
    DropGuardian();
    handed = Guard(tree);
  }
  if (handed.ok()) handed = guardian_->AwaitReady();
  NoteGuard(tree, handed);
  if (handed.ok()) return absl::OkStatus();
  ReplaceGuardian();
  tree.guarded = false;
  return tree.options.guardian_optional ? absl::OkStatus() : handed;
}

// Tells the guardian of the tree, and first starts it if need be.
absl::Status Supervisor::Impl::Guard(const TreeState& tree) {
  if (!guardian_.has_value()) return StartGuardian(&tree);
  for (const guardian::Note& note : NotesOf(tree)) {
    if (guardian_->Tell(note, kSpawnPatience).ok()) continue;
    DropGuardian();
    return StartGuardian(&tree);
  }
  return absl::OkStatus();
}

// For the trees that there are, and for one that is about to be (or nullptr).
absl::Status Supervisor::Impl::StartGuardian(const TreeState* coming) {
  absl::Status started = TryStartGuardian(coming);
  NoteGuardian(started);
  return started;
}

// Says in the trees' reports whether there is one, and sees to it that there
// will be.
void Supervisor::Impl::NoteGuardian(const absl::Status& state) {
  bool missed = false;
  for (const auto& [id, tree] : trees_) {
    if (!tree->guarded) continue;
    NoteGuard(*tree, state);
    missed = !state.ok();
  }
  bool waiting = std::any_of(
      alarms_.begin(), alarms_.end(),
      [](const auto& alarm) { return alarm.second == internal::kNoTree; });
  if (!missed || waiting) return;
  alarms_.insert({kernel::MonotonicNow() + TryAgain(), internal::kNoTree});
  (void)ArmTimer();
}

absl::Status Supervisor::Impl::TryStartGuardian(const TreeState* coming) {
  guardian_started_ = kernel::MonotonicNow();
  std::vector<guardian::Note> notes;
  auto add = [&notes](const TreeState& tree) {
    for (guardian::Note& note : NotesOf(tree)) notes.push_back(std::move(note));
  };
  for (const auto& [id, tree] : trees_) {
    if (tree->guarded) add(*tree);
  }
  if (coming != nullptr) add(*coming);
  absl::StatusOr<guardian::Guardian> started = guardian::Guardian::Start(
      {.program = options_.guardian_program, .parked = options_.park_guardian},
      notes);
  if (!started.ok()) return started.status();
  absl::Status watched =
      loop_.Watch(started->pidfd(), EPOLLIN, internal::kGuardianKey);
  if (watched.ok()) guardian_ = *std::move(started);
  return watched;
}

void Supervisor::Impl::DropGuardian() {
  if (!guardian_.has_value()) return;
  loop_.Forget(guardian_->pidfd());
  guardian_.reset();
}

// It has died, or does not work.
void Supervisor::Impl::ReplaceGuardian() {
  DropGuardian();
  bool lived = kernel::MonotonicNow() - guardian_started_ > TryAgain();
  guardian_deaths_ = lived ? 0 : guardian_deaths_ + 1;
  if (guardian_deaths_ > kMaxDeaths) {
    NoteGuardian(absl::UnavailableError("the guardian dies again and again"));
  } else {
    RestoreGuardian();
  }
}

void Supervisor::Impl::RestoreGuardian() {
  if (guardian_.has_value()) return;
  bool needed = std::any_of(trees_.begin(), trees_.end(), [](const auto& tree) {
    return tree.second->guarded;
  });
  // What goes wrong is in the trees' reports.
  if (needed) (void)StartGuardian(nullptr);
}

// Before the first signal of a grace period, and when that is over or moved.
void Supervisor::Impl::TellPhase(TreeState& tree) {
  if (tree.reaper != nullptr) tree.reaper->TellRest(RestOf(tree));
  if (!tree.guarded || !guardian_.has_value()) return;
  absl::Status told = guardian_->Tell(
      guardian::GraceNote(tree.id, RestOf(tree)), kDispatchPatience);
  if (!told.ok()) ReplaceGuardian();
}

void Supervisor::Impl::Unguard(TreeState& tree) {
  if (!tree.guarded || !guardian_.has_value()) return;
  // It would have nobody to guard until this process ends.
  if (options_.park_guardian && trees_.empty()) {
    loop_.Forget(guardian_->pidfd());
    guardian_->Kill();
    leaving_guardian_ = std::exchange(guardian_, std::nullopt);
    return;
  }
  absl::Status told =
      guardian_->Tell(guardian::ReleaseNote(tree.id), kDispatchPatience);
  if (!told.ok()) ReplaceGuardian();
}

// `state` says whether the guardian, if the tree has one, is up.
void Supervisor::Impl::NoteGuard(TreeState& tree, const absl::Status& state) {
  tree.report.guardian_error = state;
  if (tree.report.containment == Containment::kSubreaper) {
    // The reaper does the guardian's work.
    tree.report.on_supervisor_death = tree.options.on_supervisor_death;
  } else if (tree.guarded && state.ok()) {
    tree.report.on_supervisor_death = OnSupervisorDeath::kKillTree;
  } else if (tree.parent_death_signal) {
    tree.report.on_supervisor_death = OnSupervisorDeath::kKillLeader;
  } else {
    tree.report.on_supervisor_death = OnSupervisorDeath::kLeave;
  }
}

}  // namespace treekill
