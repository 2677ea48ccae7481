#include "treekill/containment/gathered_hold.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::containment {
namespace {

// A tree may have members that we cannot stop, and who fork for ever.
constexpr absl::Duration kLongestStop = absl::Seconds(15);

// After that they cannot be stopped: because their tracer does not let them, or
// because they sleep in the kernel, as in vfork(2).
absl::Duration LongestWayToStop() {
  return kernel::TimeLimit("stop", absl::Seconds(1));
}
constexpr absl::Duration kStopPause = absl::Microseconds(200);

// The second one in case that numbers have begun anew during the first one.
constexpr int kQuietLooks = 2;

// What is started meanwhile, and loses its parent before we look, is lost.
constexpr absl::Duration kFirstPause = absl::Milliseconds(1);
constexpr absl::Duration kLastPause = absl::Milliseconds(500);

// One that we may not signal may end because its children do: sudo(8).
constexpr absl::Duration kRefusedMoment = absl::Milliseconds(200);

class ProcessTreeHold final : public GatheredHold {
 public:
  explicit ProcessTreeHold(FoundProcess root)
      : GatheredHold([this](const kernel::ProcessStat& process) {
          return gathering().IsLive(process.parent);
        }) {
    gathering().Add(std::move(root));
  }
};

class GroupHold final : public GatheredHold {
 public:
  explicit GroupHold(pid_t group)
      : GatheredHold([this](const kernel::ProcessStat& process) {
          return IsMember(process);
        }),
        group_(group) {}

  absl::Status Open() {
    absl::StatusOr<bool> any = gathering().Look(/*signal=*/0);
    if (!any.ok()) return any.status();
    if (found().empty()) return absl::NotFoundError("nobody is alive in it");
    absl::StatusOr<kernel::UniqueFd> leader = kernel::OpenPidfd(group_);
    is_known_ = true;
    if (leader.ok() && HasLiveMember()) leader_ = *std::move(leader);
    return absl::OkStatus();
  }

  absl::Status Remove() override {
    absl::Status removed = GatheredHold::Remove();
    if (!removed.ok() || !found().empty()) return removed;
    absl::StatusOr<std::vector<kernel::ProcessStat>> others =
        kernel::ListProcessGroup(group_);
    if (!others.ok()) return others.status();
    auto other = std::find_if(
        others->begin(), others->end(),
        [](const kernel::ProcessStat& process) { return !process.IsDead(); });
    if (other == others->end()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(
        "process ", other->pid, " (", other->comm, ") is in a process group ",
        group_,
        " that may be another one of that number, and was left alone; look, "
        "and try again"));
  }

 private:
  // The number is no other group's while this one has a member.
  bool IsMember(const kernel::ProcessStat& process) const {
    if (process.process_group != group_) return false;
    return (!is_known_ && found().empty()) || HasLiveMember() ||
           (leader_.valid() && kernel::IsGroupAlive(leader_.get()));
  }

  bool HasLiveMember() const {
    return std::any_of(found().begin(), found().end(), [this](const auto& one) {
      return kernel::ProcessGroupOf(one.first) == group_ &&
             !one.second.HasEnded();
    });
  }

  const pid_t group_;
  bool is_known_ = false;
  // Of the process that has made the group, if it is still there.
  kernel::UniqueFd leader_;
};

}  // namespace

int GatheredHold::events_fd() const {
  for (const auto& [pid, process] : found()) {
    if (process.pidfd.valid()) return process.pidfd.get();
  }
  return -1;
}

absl::StatusOr<bool> GatheredHold::IsEmpty() {
  absl::Status looked = LookIfDue();
  if (gathering_.Live().empty()) {
    absl::Status unknown = missed_.ok() ? looked : missed_;
    if (unknown.ok()) return true;
    return kernel::WithContext(unknown, "cannot tell whether others are alive");
  }
  if (!killed_ || !IsRefused()) {
    refused_since_ = absl::InfiniteDuration();
    return false;
  }
  absl::Duration now = kernel::MonotonicNow();
  refused_since_ = std::min(refused_since_, now);
  return now - refused_since_ >= kRefusedMoment;
}

absl::Status GatheredHold::Remove() {
  return BusyUnlessEmpty("kill", "a process of it is alive");
}

absl::StatusOr<std::vector<pid_t>> GatheredHold::Members() {
  // A child may have a smaller number than its parent.
  constexpr int kLooks = 10;
  for (int i = 0; i < kLooks; ++i) {
    absl::StatusOr<bool> any_new = gathering_.Look(/*signal=*/0);
    if (!any_new.ok()) return any_new.status();
    if (!*any_new) break;
  }
  std::vector<pid_t> pids;
  for (const auto& [pid, process] : gathering_.Live()) pids.push_back(pid);
  return pids;
}

bool GatheredHold::Contains(pid_t pid) const { return found().count(pid) > 0; }

SignalRound GatheredHold::Signal(int signal, pid_t /*only_group*/) {
  kernel::ScopedBlockAllSignals block;
  absl::Status stopped = StopAll(kernel::MonotonicNow() + kLongestStop);
  missed_.Update(stopped);
  SignalRound round = gathering_.Signal(signal, /*leader=*/0);
  round.error.Update(stopped);
  return round;
}

absl::Status GatheredHold::Kill() {
  kernel::ScopedBlockAllSignals block;
  absl::Duration until = kernel::MonotonicNow() + kLongestStop;
  absl::Status status = StopAll(until);
  missed_.Update(status);
  status.Update(gathering_.Signal(SIGKILL, /*leader=*/0).error);
  absl::StatusOr<bool> any_new = false;
  do {
    any_new = gathering_.Look(SIGKILL);
  } while (any_new.ok() && *any_new && kernel::MonotonicNow() < until);
  missed_.Update(any_new.status());
  status.Update(any_new.status());
  killed_ = true;
  return status;
}

bool GatheredHold::IsRefused() const {
  return !found().empty() &&
         std::all_of(found().begin(), found().end(),
                     [](const auto& one) { return one.second.refused; });
}

std::vector<pid_t> GatheredHold::Refused() {
  std::vector<pid_t> pids;
  for (const auto& [pid, process] : gathering_.Live()) {
    if (process.refused) pids.push_back(pid);
  }
  return pids;
}

absl::Status GatheredHold::StopAll(absl::Duration until) {
  absl::Duration last_new = kernel::MonotonicNow();
  bool settled = false;
  int quiet = 0;
  while (quiet < kQuietLooks && kernel::MonotonicNow() < until) {
    // One who had not stopped yet may have continued another who had.
    gathering_.Send(SIGSTOP);
    absl::StatusOr<bool> any_new = gathering_.Look(SIGSTOP);
    if (!any_new.ok()) return any_new.status();
    quiet = settled && !*any_new ? quiet + 1 : 0;
    absl::Duration now = kernel::MonotonicNow();
    if (*any_new) last_new = now;
    settled = !*any_new && (gathering_.HaveAllStopped() ||
                            now - last_new > LongestWayToStop());
    if (!*any_new && !settled) absl::SleepFor(kStopPause);
  }
  if (quiet == kQuietLooks) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "they forked faster than they could be stopped, and some may be left; "
      "look, and try again");
}

absl::Status GatheredHold::LookIfDue() {
  absl::Duration now = kernel::MonotonicNow();
  if (now < next_look_ && !gathering_.Live().empty()) return absl::OkStatus();
  pause_ = std::clamp(pause_ * 2, kFirstPause, kLastPause);
  next_look_ = now + pause_;
  return gathering_.Look(/*signal=*/0).status();
}

std::unique_ptr<GatheredHold> HoldProcessTree(FoundProcess root) {
  return std::make_unique<ProcessTreeHold>(std::move(root));
}

absl::StatusOr<std::unique_ptr<GatheredHold>> HoldMembersOfGroup(pid_t group) {
  auto hold = std::make_unique<GroupHold>(group);
  absl::Status opened = hold->Open();
  if (!opened.ok()) return opened;
  return hold;
}

}  // namespace treekill::containment
