#include "treekill/containment/descendants.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::containment {
namespace {

// A fork bomb that forks faster than we look always has somebody who runs.
constexpr int kMaxPasses = 10;

bool IsStill(const kernel::ProcessStat& process) {
  std::optional<kernel::ProcessStat> now = kernel::ReadProcessStat(process.pid);
  return now.has_value() && now->start_time == process.start_time;
}

// kNotFound when it has gone; a pid that was reused since is not hit.
absl::Status Send(const kernel::ProcessStat& process, int signal) {
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(process.pid);
  if (absl::IsNotFound(pidfd.status())) return pidfd.status();
  if (!IsStill(process)) return absl::NotFoundError("it has gone");
  if (pidfd.ok()) return kernel::SendSignal(pidfd->get(), process.pid, signal);
  // There is no descriptor left, and nobody is to be spared for that.
  if (kernel::Kill(process.pid, signal) == 0 || errno == ESRCH) {
    return absl::OkStatus();
  }
  return kernel::ErrnoStatus(
      errno, "kill", absl::StrCat("cannot signal process ", process.pid));
}

}  // namespace

absl::StatusOr<std::vector<pid_t>> Descendants::Pids() const {
  absl::StatusOr<std::vector<kernel::ProcessStat>> live = Live();
  if (!live.ok()) return live.status();
  std::vector<pid_t> pids;
  for (const kernel::ProcessStat& process : *live) pids.push_back(process.pid);
  return pids;
}

SignalRound Descendants::Signal(int signal, pid_t only_group,
                                pid_t leader) const {
  SignalRound round;
  std::vector<kernel::ProcessStat> stopped;
  std::set<std::pair<pid_t, uint64_t>> seen;
  bool any_new = true;
  for (int pass = 0; any_new && pass < kMaxPasses; ++pass) {
    any_new = false;
    absl::StatusOr<std::vector<kernel::ProcessStat>> live = Live();
    if (!live.ok()) {
      round.error.Update(live.status());
      break;
    }
    for (const kernel::ProcessStat& process : *live) {
      if (!seen.insert({process.pid, process.start_time}).second) continue;
      if (only_group != 0 && process.process_group != only_group) continue;
      any_new = true;
      stopped.push_back(process);
      // What is wrong with it is said below.
      (void)Send(process, SIGSTOP);
    }
  }
  for (const kernel::ProcessStat& process : stopped) {
    absl::Status sent = Send(process, signal);
    if (absl::IsNotFound(sent)) continue;
    if (signal != SIGKILL) (void)Send(process, SIGCONT);
    if (sent.ok()) {
      ++round.signalled;
      round.leader_signalled |= process.pid == leader;
    } else if (kernel::StatusErrno(sent) == EPERM) {
      ++round.refused;
    } else {
      round.error.Update(sent);
    }
  }
  return round;
}

}  // namespace treekill::containment
