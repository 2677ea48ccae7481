#include "treekill/containment/gathering.h"

#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::containment {
namespace {

// A look has /proc, a file in it and a pidfd open.
constexpr size_t kReserve = 4;

bool IsStill(const kernel::ProcessStat& process) {
  std::optional<kernel::ProcessStat> now = kernel::ReadProcessStat(process.pid);
  return now.has_value() && now->start_time == process.start_time &&
         !now->IsDead();
}

}  // namespace

bool FoundProcess::HasEnded() const {
  return pidfd.valid() ? kernel::HasEnded(pidfd.get()) : !IsStill(stat);
}

absl::Status FoundProcess::Send(int signal) const {
  if (pidfd.valid()) {
    return kernel::SendSignal(pidfd.get(), stat.pid, signal);
  }
  absl::StatusOr<kernel::UniqueFd> now = kernel::OpenPidfd(stat.pid);
  if (absl::IsNotFound(now.status())) return now.status();
  if (!IsStill(stat)) return absl::NotFoundError("it has gone");
  if (now.ok()) return kernel::SendSignal(now->get(), stat.pid, signal);
  // There is no descriptor left, and nobody is to be spared for that.
  if (kernel::Kill(stat.pid, signal) == 0 || errno == ESRCH) {
    return absl::OkStatus();
  }
  return kernel::ErrnoStatus(errno, "kill",
                             absl::StrCat("cannot signal process ", stat.pid));
}

Gathering::Gathering(Lister list, Judge belongs)
    : list_(std::move(list)), belongs_(std::move(belongs)) {}

void Gathering::Add(FoundProcess process) {
  found_.insert_or_assign(process.stat.pid, std::move(process));
}

absl::StatusOr<bool> Gathering::Look(int signal) {
  Live();
  absl::StatusOr<std::vector<kernel::ProcessStat>> listed = list_();
  if (!listed.ok()) return listed.status();
  bool any_new = false;
  for (const kernel::ProcessStat& process : *listed) {
    if (found_.count(process.pid) > 0) continue;
    any_new = true;
    Take(process, signal);
  }
  return any_new;
}

void Gathering::Take(const kernel::ProcessStat& listed, int signal) {
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(listed.pid);
  if (absl::IsNotFound(pidfd.status())) return;
  if (!pidfd.ok()) {
    may_keep_ = false;
    reserve_.clear();
    pidfd = kernel::OpenPidfd(listed.pid);
  }
  std::optional<kernel::ProcessStat> now = kernel::ReadProcessStat(listed.pid);
  if (!now.has_value() || now->start_time != listed.start_time ||
      now->IsDead() || !belongs_(*now)) {
    return;
  }
  FoundProcess process{*std::move(now), {}};
  if (pidfd.ok()) {
    // Else what was read may be of the next one that has its number.
    if (kernel::HasEnded(pidfd->get())) return;
    process.pidfd = *std::move(pidfd);
  }
  // What is wrong with it will be said by Signal().
  if (signal != 0) (void)process.Send(signal);
  process.pidfd = Keep(std::move(process.pidfd));
  Add(std::move(process));
}

kernel::UniqueFd Gathering::Keep(kernel::UniqueFd pidfd) {
  if (!pidfd.valid() || !may_keep_) return {};
  while (may_keep_ && reserve_.size() < kReserve) {
    absl::StatusOr<kernel::UniqueFd> copy = kernel::Duplicate(pidfd.get());
    may_keep_ = copy.ok();
    if (copy.ok()) reserve_.push_back(*std::move(copy));
  }
  if (may_keep_) return pidfd;
  reserve_.clear();
  return {};
}

void Gathering::Send(int signal) const {
  for (const auto& [pid, process] : found_) (void)process.Send(signal);
}

SignalRound Gathering::Signal(int signal, pid_t leader) {
  SignalRound round;
  for (auto& [pid, process] : found_) {
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

const std::map<pid_t, FoundProcess>& Gathering::Live() {
  for (auto process = found_.begin(); process != found_.end();) {
    process =
        process->second.HasEnded() ? found_.erase(process) : std::next(process);
  }
  return found_;
}

}  // namespace treekill::containment
