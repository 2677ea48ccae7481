#include "treekill/containment/gathering.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::containment {
namespace {

// A look has /proc, a file in it and a pidfd open.
constexpr size_t kSpare = 4;

absl::StatusOr<bool> IsStill(const kernel::ProcessStat& process) {
  absl::StatusOr<std::optional<kernel::ProcessStat>> now =
      kernel::FindProcess(process.pid);
  if (!now.ok()) return now.status();
  return now->has_value() && (*now)->start_time == process.start_time &&
         !(*now)->IsDead();
}

// The same, as long as there are descriptors to look for others with.
kernel::UniqueFd KeepIfThereAreMore(kernel::UniqueFd pidfd) {
  std::vector<kernel::UniqueFd> spare;
  while (spare.size() < kSpare) {
    absl::StatusOr<kernel::UniqueFd> copy = kernel::Duplicate(pidfd.get());
    if (!copy.ok()) return {};
    spare.push_back(*std::move(copy));
  }
  return pidfd;
}

// Since a look before this one, which has begun at those numbers.
bool HaveNumbersBegunAnew(pid_t before, pid_t start) {
  return before == 0 || start < before || kernel::LastPid() < start;
}

}  // namespace

bool FoundProcess::HasEnded() const {
  if (pidfd.valid()) return kernel::HasEnded(pidfd.get());
  absl::StatusOr<bool> still = IsStill(stat);
  // What could not be found out is no end.
  return still.ok() && !*still;
}

absl::Status FoundProcess::Send(int signal) const {
  if (pidfd.valid()) {
    return kernel::SendSignal(pidfd.get(), stat.pid, signal);
  }
  absl::StatusOr<kernel::UniqueFd> now = kernel::OpenPidfd(stat.pid);
  if (absl::IsNotFound(now.status())) return now.status();
  absl::StatusOr<bool> still = IsStill(stat);
  if (!still.ok() && now.ok()) {
    // That was the last descriptor.
    now->reset();
    still = IsStill(stat);
  }
  if (!still.ok()) return still.status();
  if (!*still) return absl::NotFoundError("it has gone");
  if (now.ok() && now->valid()) {
    return kernel::SendSignal(now->get(), stat.pid, signal);
  }
  // There is no descriptor left, and nobody is to be spared for that.
  if (kernel::Kill(stat.pid, signal) == 0 || errno == ESRCH) {
    return absl::OkStatus();
  }
  return kernel::ErrnoStatus(errno, "kill",
                             absl::StrCat("cannot signal process ", stat.pid));
}

Gathering::Gathering(Judge belongs, Judge is_meant)
    : belongs_(std::move(belongs)), is_meant_(std::move(is_meant)) {}

void Gathering::Add(FoundProcess process) {
  found_.insert_or_assign(process.stat.pid, std::move(process));
}

absl::StatusOr<bool> Gathering::Look(int signal) {
  Live();
  bool any_new = false;
  bool any_gone = false;
  pid_t before = std::exchange(last_pid_, kernel::LastPid());
  absl::Status failure;
  absl::Status visited = kernel::VisitProcesses([&](pid_t pid) {
    absl::StatusOr<Sight> sight = TakeIfNew(pid, signal);
    // Who hides from us (hidepid=1, proc(5)) is not ours to signal anyway.
    if (absl::IsPermissionDenied(sight.status())) return;
    failure.Update(sight.status());
    any_new |= sight.ok() && *sight == Sight::kNew;
    any_gone |= sight.ok() && *sight == Sight::kGone;
  });
  failure.Update(visited);
  // Whom it has left, a greater number, was met after it, and had a parent that
  // was found; but for one that was given a smaller number.
  any_new |= any_gone && HaveNumbersBegunAnew(before, last_pid_);
  if (failure.ok()) return any_new;
  bool is_limit = kernel::StatusErrno(failure) == EMFILE;
  return kernel::WithHint(
      failure, is_limit ? "raise the limit of open files (ulimit -n)" : "");
}

absl::StatusOr<Gathering::Sight> Gathering::TakeIfNew(pid_t pid, int signal) {
  if (found_.count(pid) > 0) return Sight::kNotNew;
  absl::StatusOr<std::optional<kernel::ProcessStat>> seen =
      kernel::FindProcess(pid);
  if (!seen.ok()) return seen.status();
  if (!seen->has_value()) return Sight::kGone;
  if ((*seen)->IsDead()) return Sight::kNotNew;
  if (!belongs_(**seen)) {
    auto parent = found_.find((*seen)->parent);
    bool is_orphan = parent != found_.end() && parent->second.HasEnded();
    // Who has adopted it since may be one of them.
    return is_orphan ? Sight::kNew : Sight::kNotNew;
  }
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(pid);
  if (absl::IsNotFound(pidfd.status())) return Sight::kNew;
  absl::StatusOr<std::optional<kernel::ProcessStat>> now =
      kernel::FindProcess(pid);
  if (!now.ok() && pidfd.ok()) {
    // That was the last descriptor.
    pidfd->reset();
    now = kernel::FindProcess(pid);
  }
  if (!now.ok()) return now.status();
  if (!now->has_value() || (*now)->IsDead() || !belongs_(**now)) {
    return Sight::kNew;
  }
  FoundProcess process{**std::move(now), {}};
  process.is_meant = is_meant_(process.stat);
  if (pidfd.ok() && pidfd->valid()) {
    // Else what was read may be of the next one that has its number.
    if (kernel::HasEnded(pidfd->get())) return Sight::kNew;
    process.pidfd = *std::move(pidfd);
  }
  // What else is wrong with it will be said by Signal().
  if (signal != 0 && process.is_meant) {
    absl::Status sent = process.Send(signal);
    process.refused = kernel::StatusErrno(sent) == EPERM;
    if (sent.ok()) reached_.insert(pid);
  }
  process.pidfd = KeepIfThereAreMore(std::move(process.pidfd));
  Add(std::move(process));
  return Sight::kNew;
}

void Gathering::Send(int signal) const {
  for (const auto& [pid, process] : found_) {
    if (process.is_meant) (void)process.Send(signal);
  }
}

bool Gathering::HaveAllStopped() const {
  return std::all_of(found_.begin(), found_.end(), [](const auto& one) {
    return one.second.refused || kernel::HasStopped(one.first);
  });
}

SignalRound Gathering::Signal(int signal, pid_t leader) {
  SignalRound round;
  for (auto& [pid, process] : found_) {
    if (!process.is_meant) continue;
    absl::Status sent = process.Send(signal);
    if (absl::IsNotFound(sent)) continue;
    if (signal != SIGKILL) (void)process.Send(SIGCONT);
    process.refused = kernel::StatusErrno(sent) == EPERM;
    if (sent.ok()) {
      ++round.signalled;
      round.leader_signalled |= pid == leader;
    } else if (process.refused) {
      ++round.refused;
    } else {
      round.error.Update(sent);
    }
  }
  return round;
}

bool Gathering::IsLive(pid_t pid) const {
  auto process = found_.find(pid);
  return process != found_.end() && !process->second.HasEnded();
}

const std::map<pid_t, FoundProcess>& Gathering::Live() {
  for (auto process = found_.begin(); process != found_.end();) {
    process =
        process->second.HasEnded() ? found_.erase(process) : std::next(process);
  }
  return found_;
}

}  // namespace treekill::containment
