#include "treekill/guardian/finish.h"

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::guardian {
namespace {

// A cgroup tells of one change in 10 ms at most, and of none when a fork in
// flight has missed the SIGKILL.
constexpr absl::Duration kFirstAsk = absl::Milliseconds(1);
constexpr absl::Duration kLastAsk = absl::Milliseconds(64);

}  // namespace

Finisher::Finisher(std::unique_ptr<containment::Hold> hold, RestOfTeardown rest)
    : hold_(std::move(hold)), rest_(std::move(rest)) {}

absl::Duration Finisher::Advance() {
  if (ended_) return absl::InfiniteDuration();
  absl::Duration now = kernel::MonotonicNow();
  // Read in any case: until then the events descriptor stays ready.
  absl::StatusOr<bool> empty = hold_->IsEmpty();
  if ((!empty.ok() || *empty) && TryRemove()) return absl::InfiniteDuration();
  if (drain_end_ == absl::InfiniteDuration()) {
    if (now < rest_.grace_end) {
      hold_->SignalLatecomers();
      return AskAgain(rest_.grace_end);
    }
    if (next_step_ < rest_.steps.size() &&
        rest_.steps[next_step_].signal != SIGKILL) {
      const Step& step = rest_.steps[next_step_++];
      hold_->Signal(step.signal, rest_.only_group);
      rest_.grace_end = now + step.grace;
      ask_ = absl::ZeroDuration();
      return AskAgain(rest_.grace_end);
    }
    drain_end_ = now + kernel::TimeLimit("drain", rest_.drain_timeout);
    ask_ = absl::ZeroDuration();
  }
  result_ = hold_->Kill();
  if (now < drain_end_) return AskAgain(drain_end_);
  absl::Status removed = hold_->Remove();
  if (result_.ok()) result_ = removed;
  ended_ = true;
  return absl::InfiniteDuration();
}

absl::Duration Finisher::AskAgain(absl::Duration until) {
  ask_ = std::clamp(ask_ * 2, kFirstAsk, kLastAsk);
  return std::min(kernel::MonotonicNow() + ask_, until);
}

bool Finisher::TryRemove() {
  absl::Status removed = hold_->Remove();
  if (kernel::IsBusy(removed)) return false;
  ended_ = true;
  result_ = removed;
  return true;
}

void FinishAll(std::vector<Finisher>* finishers) {
  while (true) {
    absl::Duration next = absl::InfiniteDuration();
    std::vector<pollfd> fds;
    for (Finisher& finisher : *finishers) {
      next = std::min(next, finisher.Advance());
      if (finisher.ended()) continue;
      fds.push_back({finisher.events_fd(), finisher.event_mask(), 0});
    }
    if (fds.empty()) return;
    absl::Duration left =
        absl::Ceil(next - kernel::MonotonicNow(), absl::Milliseconds(1));
    int milliseconds = static_cast<int>(
        std::clamp<int64_t>(absl::ToInt64Milliseconds(left), 0, 1000));
    kernel::Poll(fds.data(), fds.size(), milliseconds);
  }
}

}  // namespace treekill::guardian
