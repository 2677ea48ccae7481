#include "treekill/kernel/subreaper.h"

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "treekill/kernel/error.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {

absl::Status BecomeSubreaper() {
  if (FaultInjected("prctl") || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
    return ErrnoStatus(errno, "prctl", "cannot adopt orphans");
  }
  return absl::OkStatus();
}

absl::StatusOr<Reaped> ReapOrphans(const std::function<bool(pid_t)>& keep) {
  // An orphan has SIGCHLD as its exit signal, whatever it had before. Without
  // __WALL a child that was made with none and has not execed is passed over:
  // see CloneParked().
  constexpr int kOptions = WEXITED | WNOHANG;
  Reaped reaped;
  while (true) {
    siginfo_t info{};
    if (Waitid(P_ALL, 0, &info, kOptions | WNOWAIT) < 0) {
      if (errno == ECHILD) return reaped;
      return ErrnoStatus(errno, "waitid", "cannot reap orphans");
    }
    // A dead child that is kept hides those behind it until it is reaped.
    if (info.si_pid == 0 || keep(info.si_pid)) {
      reaped.any_left = true;
      return reaped;
    }
    reaped.pids.push_back(info.si_pid);
    Waitid(P_PID, info.si_pid, &info, kOptions);
  }
}

absl::StatusOr<UniqueFd> WatchChildren() {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  UniqueFd fd(
      AboveStandardStreams(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK)));
  if (fd.valid()) return fd;
  return ErrnoStatus(errno, "signalfd", "cannot watch child processes");
}

void TakeChildEvents(int fd) {
  signalfd_siginfo info;
  while (Read(fd, &info, sizeof(info)) > 0) {
  }
}

absl::StatusOr<std::vector<pid_t>> ListLiveChildren() {
  // Not by /proc/self/task/*/children, which was seen to leave out orphans that
  // had just come: an empty list there is no proof.
  absl::StatusOr<std::vector<pid_t>> candidates = ListProcesses();
  if (!candidates.ok()) return candidates.status();
  std::vector<pid_t> children;
  for (pid_t pid : *candidates) {
    std::optional<ProcessStat> stat = ReadProcessStat(pid);
    if (stat.has_value() && stat->parent == getpid() && !stat->IsDead()) {
      children.push_back(pid);
    }
  }
  return children;
}

}  // namespace treekill::kernel
