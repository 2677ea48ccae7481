// What the life of a tree rests on: the place, the timers, the public face.
#include "treekill/supervisor_impl.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "treekill/kernel/error.h"

namespace treekill {

using internal::Phase;
using internal::TreeState;

KillMode internal::KillModeNow(const TreeState& tree) {
  bool all = tree.timeout_first && tree.step == 0;
  return all ? KillMode::kControlGroup : tree.options.teardown.kill_mode;
}

pid_t internal::GroupToSignal(const TreeState& tree, KillMode mode) {
  if (mode != KillMode::kProcessGroup) return 0;
  return tree.options.new_process_group ? tree.report.leader : getpgrp();
}

bool internal::LacksResources(const absl::Status& failure) {
  int error = kernel::StatusErrno(failure);
  return error == EMFILE || error == ENFILE || error == ENOMEM;
}

void internal::NoteError(TreeState& tree, const absl::Status& error) {
  std::vector<absl::Status>& errors = tree.report.errors;
  if (error.ok()) return;
  if (std::find(errors.begin(), errors.end(), error) == errors.end()) {
    errors.push_back(error);
  }
}

int internal::LeaderFd(const TreeState& tree) {
  int fd = tree.hold->leader_fd();
  return fd >= 0 ? fd : tree.pidfd.get();
}

absl::StatusOr<std::unique_ptr<Supervisor::Impl>> Supervisor::Impl::Create(
    const SupervisorOptions& options) {
  absl::StatusOr<kernel::EventLoop> loop = kernel::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  std::unique_ptr<Impl> impl(new Impl(options, *std::move(loop)));
  absl::Status placed = impl->Place();
  if (!placed.ok()) return placed;
  if (options.adopt_orphans) {
    absl::Status adopts = impl->Adopt();
    if (!adopts.ok()) return adopts;
  }
  return impl;
}

absl::Status Supervisor::Impl::FillReserve() {
  constexpr size_t kReserve = 4;
  while (reserve_.size() < kReserve) {
    absl::StatusOr<kernel::UniqueFd> copy = kernel::Duplicate(loop_.fd());
    if (!copy.ok()) return copy.status();
    reserve_.push_back(*std::move(copy));
  }
  return absl::OkStatus();
}

Supervisor::Impl::~Impl() {
  // A forked child shares the descriptors, not the trees.
  if (getpid() != owner_) return;
  std::vector<std::shared_ptr<TreeState>> trees;
  for (const auto& [id, tree] : trees_) trees.push_back(tree);
  for (const std::shared_ptr<TreeState>& tree : trees) {
    BeginTeardown(*tree, EndReason::kKilled, /*first_signal=*/0);
  }
  while (!trees_.empty() && Serve(absl::InfiniteDuration()).ok()) {
  }
  // Without events there is still the direct way.
  for (const auto& [id, tree] : trees_) {
    Abandon(*tree);
    tree->supervisor = nullptr;
  }
}

void Supervisor::Impl::SetAlarm(TreeState& tree, absl::Duration moment) {
  alarms_.erase({tree.alarm, tree.id});
  tree.alarm = moment;
  if (moment != absl::InfiniteDuration()) alarms_.insert({moment, tree.id});
}

absl::Status Supervisor::Impl::ArmTimer() {
  return loop_.SetTimer(alarms_.empty() ? absl::InfiniteDuration()
                                        : alarms_.begin()->first);
}

void Supervisor::Impl::PauseTimers(TreeState& tree) {
  bool running = tree.phase == Phase::kRunning || tree.phase == Phase::kWait ||
                 tree.phase == Phase::kGrace;
  if (!running || tree.paused.has_value()) return;
  tree.paused = kernel::MonotonicNow();
  alarms_.erase({tree.alarm, tree.id});
  (void)ArmTimer();
}

void Supervisor::Impl::ResumeTimers(TreeState& tree) {
  if (!tree.paused.has_value()) return;
  absl::Duration away = kernel::MonotonicNow() - *tree.paused;
  tree.paused.reset();
  tree.timeout_end += away;
  tree.wait_end += away;
  tree.grace_end += away;
  SetAlarm(tree, tree.alarm + away);
  if (tree.phase == Phase::kGrace) TellPhase(tree);
  (void)ArmTimer();
}

absl::StatusOr<Supervisor> Supervisor::Create(
    const SupervisorOptions& options) {
  absl::StatusOr<std::unique_ptr<Impl>> impl = Impl::Create(options);
  if (!impl.ok()) return impl.status();
  return Supervisor(*std::move(impl));
}

Supervisor::Supervisor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Supervisor::Supervisor(Supervisor&&) noexcept = default;
Supervisor& Supervisor::operator=(Supervisor&&) noexcept = default;
Supervisor::~Supervisor() = default;

absl::StatusOr<Tree> Supervisor::Spawn(const Command& command,
                                       const TreeOptions& options) {
  absl::StatusOr<std::shared_ptr<TreeState>> state =
      impl_->Spawn(command, options);
  if (!state.ok()) return state.status();
  return Tree(*std::move(state));
}

int Supervisor::fd() const { return impl_->fd(); }

absl::Status Supervisor::Dispatch() {
  return impl_->Serve(absl::ZeroDuration());
}

Containment Supervisor::containment() const { return impl_->containment(); }
std::string Supervisor::placement() const { return impl_->placement(); }

}  // namespace treekill
