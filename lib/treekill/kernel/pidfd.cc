#include "treekill/kernel/pidfd.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

// include/uapi/linux/pidfd.h of Linux 6.13; Debian 12's headers are older.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t pid, tgid, ppid;
  uint32_t ids[8];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t kInfoCgroupId = 1 << 2;
constexpr uint64_t kInfoExit = 1 << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);

ChildEnd FromSiginfo(const siginfo_t& info) {
  ChildEnd end;
  end.how = info.si_code == CLD_EXITED ? ChildEnd::How::kExited
                                       : ChildEnd::How::kKilled;
  end.value = info.si_status;
  end.core_dumped = info.si_code == CLD_DUMPED;
  return end;
}

// After somebody else has reaped the child.
ChildEnd FromPidfdInfo(int pidfd) {
  ChildEnd end;
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (ioctl(pidfd, kGetInfo, &info) < 0 || (info.mask & kInfoExit) == 0) {
    return end;
  }
  if (WIFEXITED(info.exit_code)) {
    end.how = ChildEnd::How::kExited;
    end.value = WEXITSTATUS(info.exit_code);
  } else if (WIFSIGNALED(info.exit_code)) {
    end.how = ChildEnd::How::kKilled;
    end.value = WTERMSIG(info.exit_code);
    end.core_dumped = WCOREDUMP(info.exit_code);
  }
  return end;
}

// Has pidfd_send_signal(2) failed so because it is not to be had, whoever it is
// about? A seccomp filter that does not know it may answer EPERM.
bool IsCallForbidden(int error) {
  if (error == ENOSYS) return true;
  if (error != EPERM) return false;
  absl::Status probed = ProbePidfdSignals();
  return !probed.ok() && StatusCall(probed) == "pidfd_send_signal";
}

}  // namespace

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  UniqueFd fd(PidfdOpen(pid));
  if (!fd.valid()) {
    // absl has no code for ESRCH that a caller would recognise.
    if (errno == ESRCH) {
      return absl::NotFoundError(absl::StrCat("no process ", pid));
    }
    return ErrnoStatus(errno, "pidfd_open",
                       absl::StrCat("cannot watch process ", pid));
  }
  return fd;
}

bool HasEnded(int pidfd) {
  pollfd ended{pidfd, POLLIN, 0};
  return Poll(&ended, 1, /*timeout_ms=*/0) > 0;
}

bool AwaitEnd(int pidfd, absl::Duration until) {
  while (!HasEnded(pidfd)) {
    if (!PollUntil(pidfd, POLLIN, until)) return false;
  }
  return true;
}

absl::Status SendSignal(int pidfd, pid_t pid, int signal) {
  if (PidfdSendSignal(pidfd, signal) == 0 || errno == ESRCH) {
    return absl::OkStatus();
  }
  int error = errno;
  // By its number only then: that may be another's as soon as it is reaped.
  if (IsCallForbidden(error)) {
    if (HasEnded(pidfd)) return absl::OkStatus();
    if (Kill(pid, signal) == 0 || errno == ESRCH) return absl::OkStatus();
    error = errno;
  }
  return ErrnoStatus(
      error, "pidfd_send_signal",
      absl::StrCat("cannot send ", SignalName(signal), " to process ", pid));
}

absl::Status SendSignalAndContinue(int pidfd, pid_t pid, int signal) {
  absl::Status sent = SendSignal(pidfd, pid, signal);
  return sent.ok() ? SendSignal(pidfd, pid, SIGCONT) : sent;
}

bool MaySignal(int process_fd, pid_t pid) {
  constexpr int kNoSignal = 0;
  if (PidfdSendSignal(process_fd, kNoSignal) == 0) return true;
  int error = errno;
  if (!IsCallForbidden(error)) return error != EPERM;
  return Kill(pid, kNoSignal) == 0 || errno != EPERM;
}

bool IsGroupAlive(int leader_pidfd) {
  constexpr int kNoSignal = 0;
  return PidfdSendSignalToGroup(leader_pidfd, kNoSignal) == 0 || errno == EPERM;
}

absl::Status ProbePidfdSignals() {
  absl::StatusOr<UniqueFd> self = OpenPidfd(getpid());
  if (!self.ok()) return self.status();
  constexpr int kNoSignal = 0;
  if (PidfdSendSignal(self->get(), kNoSignal) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "pidfd_send_signal", "no signals through pidfds");
}

absl::StatusOr<std::optional<ChildEnd>> PollChildEnd(int pidfd, bool reap) {
  siginfo_t info{};
  rusage usage{};
  // __WALL: a child of which no SIGCHLD is sent is not found without.
  int options = WEXITED | WNOHANG | __WALL | (reap ? 0 : WNOWAIT);
  if (Waitid(P_PIDFD, pidfd, &info, options, &usage) < 0) {
    if (errno == ECHILD) return FromPidfdInfo(pidfd);
    return ErrnoStatus(errno, "waitid", "cannot wait for the command");
  }
  if (info.si_pid == 0) return std::optional<ChildEnd>();
  ChildEnd end = FromSiginfo(info);
  end.usage = usage;
  return end;
}

int PollChildStop(int pidfd) {
  siginfo_t info{};
  if (Waitid(P_PIDFD, pidfd, &info, WSTOPPED | WNOHANG) < 0) return 0;
  return info.si_pid == 0 ? 0 : info.si_status;
}

absl::Status ReapChild(int pidfd) {
  siginfo_t info{};
  if (Waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL) < 0 && errno != ECHILD) {
    return ErrnoStatus(errno, "waitid", "cannot wait for the command");
  }
  return absl::OkStatus();
}

std::optional<uint64_t> CgroupIdOf(int pidfd) {
  PidfdInfo info{};
  info.mask = kInfoCgroupId;
  if (ioctl(pidfd, kGetInfo, &info) < 0) return std::nullopt;
  if ((info.mask & kInfoCgroupId) == 0) return std::nullopt;
  return info.cgroup_id;
}

}  // namespace treekill::kernel
