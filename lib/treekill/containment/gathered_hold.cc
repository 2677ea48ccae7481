#include "treekill/containment/gathered_hold.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"

namespace treekill::containment {
namespace {

// A tree may have members that we cannot stop, and who fork for ever.
constexpr absl::Duration kLongestStop = absl::Seconds(5);

// The second one for an orphan whose parent was born and has died while the
// first one was going on.
constexpr int kQuietLooks = 2;

// What is started meanwhile, and loses its parent before we look, is lost.
constexpr absl::Duration kFirstPause = absl::Milliseconds(1);
constexpr absl::Duration kLastPause = absl::Milliseconds(500);

// One that we may not signal may end because its children do: sudo(8).
constexpr absl::Duration kRefusedMoment = absl::Milliseconds(200);

class ProcessTreeHold final : public GatheredHold {
 public:
  explicit ProcessTreeHold(FoundProcess root)
      : GatheredHold([this] { return List(); },
                     [this](const kernel::ProcessStat& process) {
                       return IsChild(process);
                     }) {
    gathering().Add(std::move(root));
  }

 private:
  absl::StatusOr<std::vector<kernel::ProcessStat>> List() const {
    std::vector<pid_t> ancestors;
    for (const auto& [pid, process] : found()) ancestors.push_back(pid);
    if (ancestors.empty()) return std::vector<kernel::ProcessStat>();
    return kernel::ListDescendants(ancestors);
  }

  // Its parent's number was its parent's own when it was read.
  bool IsChild(const kernel::ProcessStat& process) const {
    auto parent = found().find(process.parent);
    return parent != found().end() && !parent->second.HasEnded();
  }
};

class GroupHold final : public GatheredHold {
 public:
  explicit GroupHold(pid_t group)
      : GatheredHold([this] { return List(); },
                     [this](const kernel::ProcessStat& process) {
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
    absl::StatusOr<std::vector<kernel::ProcessStat>> others = List();
    if (!others.ok()) return others.status();
    if (others->empty()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(
        "process ", others->front().pid, " (", others->front().comm,
        ") is in a process group ", group_,
        " that may be another one of that number, and was left alone; look, "
        "and try again"));
  }

 private:
  absl::StatusOr<std::vector<kernel::ProcessStat>> List() const {
    absl::StatusOr<std::vector<kernel::ProcessStat>> members =
        kernel::ListProcessGroup(group_);
    if (members.ok()) {
      std::erase_if(*members, [](const kernel::ProcessStat& process) {
        return process.IsDead();
      });
    }
    return members;
  }

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
  LookIfDue();
  if (gathering_.Live().empty()) return true;
  if (!killed_ || !IsRefused()) {
    refused_since_ = absl::InfiniteDuration();
    return false;
  }
  absl::Duration now = kernel::MonotonicNow();
  refused_since_ = std::min(refused_since_, now);
  return now - refused_since_ >= kRefusedMoment;
}

absl::Status GatheredHold::Remove() {
  absl::StatusOr<bool> empty = IsEmpty();
  if (!empty.ok() || *empty) return empty.status();
  return kernel::ErrnoStatus(EBUSY, "kill", "a process of it is alive");
}

absl::StatusOr<std::vector<pid_t>> GatheredHold::Members() {
  absl::StatusOr<bool> looked = gathering_.Look(/*signal=*/0);
  if (!looked.ok()) return looked.status();
  std::vector<pid_t> pids;
  for (const auto& [pid, process] : gathering_.Live()) pids.push_back(pid);
  return pids;
}

bool GatheredHold::Contains(pid_t pid) const { return found().count(pid) > 0; }

SignalRound GatheredHold::Signal(int signal, pid_t /*only_group*/) {
  kernel::ScopedBlockAllSignals block;
  absl::Status stopped =
      LookAgainAndAgain(SIGSTOP, kernel::MonotonicNow() + kLongestStop);
  SignalRound round = gathering_.Signal(signal, /*leader=*/0);
  round.error.Update(stopped);
  return round;
}

absl::Status GatheredHold::Kill() {
  kernel::ScopedBlockAllSignals block;
  absl::Duration until = kernel::MonotonicNow() + kLongestStop;
  absl::Status status = LookAgainAndAgain(SIGSTOP, until);
  status.Update(gathering_.Signal(SIGKILL, /*leader=*/0).error);
  status.Update(LookAgainAndAgain(SIGKILL, until));
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

absl::Status GatheredHold::LookAgainAndAgain(int signal, absl::Duration until) {
  int quiet = 0;
  do {
    // One who was not stopped yet may have continued another who was.
    gathering_.Send(signal);
    absl::StatusOr<bool> any_new = gathering_.Look(signal);
    if (!any_new.ok()) return any_new.status();
    quiet = *any_new ? 0 : quiet + 1;
  } while (quiet < kQuietLooks && kernel::MonotonicNow() < until);
  return absl::OkStatus();
}

void GatheredHold::LookIfDue() {
  absl::Duration now = kernel::MonotonicNow();
  if (now < next_look_ && !gathering_.Live().empty()) return;
  // A look that failed will fail again in Kill(), and is told there.
  (void)gathering_.Look(/*signal=*/0);
  pause_ = std::clamp(pause_ * 2, kFirstPause, kLastPause);
  next_look_ = now + pause_;
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
