#include "treekill/tree.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/supervisor_impl.h"

namespace treekill {
namespace {

constexpr size_t kMaxNameLength = 128;

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == ':' || c == '_' || c == '.' ||
         c == '@' || c == '+' || c == '-';
}

absl::Status ValidateName(const std::string& name) {
  if (name.size() > kMaxNameLength) {
    return absl::InvalidArgumentError(
        absl::StrCat("a name of ", name.size(),
                     " characters is too long: ", kMaxNameLength, " at most"));
  }
  if (!name.empty() && (name[0] == '.' || name[0] == '-')) {
    return absl::InvalidArgumentError("a name must not begin with '.' or '-'");
  }
  for (char c : name) {
    if (!IsNameCharacter(c)) {
      return absl::InvalidArgumentError(
          "a name may have letters, digits and any of :_.@+- only");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const TreeOptions& options) {
  absl::Status name = ValidateName(options.name);
  if (!name.ok()) return name;
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the timeout must be more than 0");
  }
  if (options.timeout_signal < 0 ||
      options.timeout_signal > kernel::kLastSignal) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no signal ", options.timeout_signal));
  }
  absl::Status leaks = Validate(options.leaks);
  if (!leaks.ok()) return leaks;
  TeardownPolicy policy = options.teardown;
  if (options.timeout_first_step.has_value()) {
    policy.steps.push_back(*options.timeout_first_step);
  }
  return Validate(policy);
}

namespace internal {

absl::Status TreeState::Kill() {
  std::lock_guard<std::mutex> lock(mutex);
  bool by_number = hold->kill_fd() < 0 && hold->cgroup_fd() < 0;
  if (reaped && by_number) return absl::OkStatus();
  absl::Status killed = hold->Kill();
  if (leader_ended) return killed;
  if (!pidfd.valid()) return killed;
  // It may have moved out of the leaf.
  absl::Status leader = kernel::SendSignal(pidfd.get(), report.leader, SIGKILL);
  if (ErrnoOf(leader) == EPERM && !by_number) leader = absl::OkStatus();
  return killed.ok() ? leader : killed;
}

}  // namespace internal

Tree::Tree(Tree&&) noexcept = default;

Tree& Tree::operator=(Tree&& other) noexcept {
  if (this != &other) {
    Release();
    state_ = std::move(other.state_);
  }
  return *this;
}

Tree::~Tree() { Release(); }

void Tree::Release() {
  if (state_ == nullptr) return;
  if (state_->supervisor != nullptr && state_->owner == getpid()) {
    state_->supervisor->BeginTeardown(*state_, EndReason::kKilled,
                                      /*first_signal=*/0);
  }
  state_.reset();
}

pid_t Tree::leader() const { return state_->report.leader; }
int Tree::leader_pidfd() const { return state_->pidfd.get(); }
int Tree::kill_fd() const { return state_->hold->kill_fd(); }
Containment Tree::containment() const { return state_->hold->kind(); }
std::string Tree::leaf() const { return state_->report.leaf; }

void Tree::Stop(int first_signal, EndReason reason) {
  if (state_->supervisor == nullptr) return;
  if (first_signal == SIGKILL) reason = EndReason::kKilled;
  state_->supervisor->BeginTeardown(*state_, reason, first_signal);
}

absl::Status Tree::Kill() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->kill_requested = true;
  }
  return state_->Kill();
}

absl::Status Tree::SignalLeader(int signal) {
  return kernel::SendSignal(state_->pidfd.get(), leader(), signal);
}

absl::Status Tree::SignalLeaderGroup(int signal) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->reaped) return absl::OkStatus();
  // A reaper does not keep it until it is told.
  if (state_->reaper != nullptr && kernel::HasEnded(leader_pidfd())) {
    return absl::OkStatus();
  }
  // An unreaped leader pins the number of its group.
  if (kernel::ProcessGroupOf(leader()) == leader()) {
    if (kernel::Kill(-leader(), signal) == 0) return absl::OkStatus();
  }
  return kernel::SendSignal(state_->pidfd.get(), leader(), signal);
}

int Tree::TakeLeaderStop() {
  return ended() ? 0 : state_->hold->PollLeaderStop(leader_pidfd());
}

absl::StatusOr<std::vector<Member>> Tree::Members() const {
  if (ended()) return std::vector<Member>();
  return internal::FindMembers(*state_);
}

void Tree::PauseTimers() {
  if (state_->supervisor != nullptr) state_->supervisor->PauseTimers(*state_);
}

void Tree::ResumeTimers() {
  if (state_->supervisor != nullptr) state_->supervisor->ResumeTimers(*state_);
}

absl::StatusOr<bool> Tree::Wait(absl::Duration timeout) {
  absl::Duration end = kernel::MonotonicNow() + timeout;
  absl::Duration left = timeout;
  while (!ended() && state_->supervisor != nullptr) {
    absl::Status served =
        state_->supervisor->Serve(std::max(left, absl::ZeroDuration()));
    if (!served.ok()) return served;
    if (!ended() && left <= absl::ZeroDuration()) return false;
    left = end - kernel::MonotonicNow();
  }
  return ended();
}

bool Tree::leader_ended() const { return state_->leader_ended; }

bool Tree::ending() const {
  return state_->phase != internal::Phase::kRunning &&
         state_->phase != internal::Phase::kWait;
}

bool Tree::ended() const { return state_->phase == internal::Phase::kEnded; }

const TreeReport& Tree::report() const { return state_->report; }

}  // namespace treekill
