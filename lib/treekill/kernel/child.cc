// Everything in this file runs between clone and exec; see child.h for what
// that forbids. syscall(2) instead of glibc's wrappers keeps sanitizers'
// interceptors out, which have locks of their own.
#include "treekill/kernel/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>

namespace treekill::kernel {
namespace {

constexpr unsigned kCloseRangeCloexec = 1U << 2;

// The kernel's struct sigaction, which is not glibc's.
struct KernelSigaction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  SignalSet mask;
};

bool LeaveProcessGroup(const ChildPlan& plan) {
  if (plan.new_session) return syscall(SYS_setsid) >= 0;
  return !plan.new_process_group || syscall(SYS_setpgid, 0, 0) >= 0;
}

bool SetLimits(const ChildPlan& plan) {
  for (int i = 0; i < plan.limit_count; ++i) {
    const ChildLimit& limit = plan.limits[i];
    uint64_t values[2] = {limit.soft, limit.hard};
    if (syscall(SYS_prlimit64, 0, limit.resource, values, nullptr) < 0) {
      return false;
    }
  }
  return true;
}

bool SetCloexec(int fd, bool on) {
  return syscall(SYS_fcntl, fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0;
}

// Marks [first, last] close-on-exec; before Linux 5.11 one by one.
void CloseOnExec(unsigned first, unsigned last) {
  if (first > last) return;
  if (syscall(SYS_close_range, first, last, kCloseRangeCloexec) == 0) return;
  uint64_t limit[2] = {1024, 1024};
  syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limit);
  for (unsigned fd = first; fd <= last && fd < limit[0]; ++fd) {
    SetCloexec(static_cast<int>(fd), true);
  }
}

// First everything out of the way of every target, so that none is overwritten
// before it has been copied.
bool LiftSources(const ChildPlan& plan) {
  int above = STDERR_FILENO + 1;
  if (plan.fd_count > 0 && plan.fds[plan.fd_count - 1].to >= above) {
    above = plan.fds[plan.fd_count - 1].to + 1;
  }
  for (int i = 0; i < plan.fd_count; ++i) {
    FdMove& move = plan.fds[i];
    if (move.from == move.to || move.from >= above) continue;
    long copy = syscall(SYS_fcntl, move.from, F_DUPFD_CLOEXEC, above);
    if (copy < 0) return false;
    move.from = static_cast<int>(copy);
  }
  return true;
}

bool MoveDescriptors(const ChildPlan& plan) {
  if (!LiftSources(plan)) return false;
  for (int i = 0; i < plan.fd_count; ++i) {
    const FdMove& move = plan.fds[i];
    bool moved = move.from == move.to
                     ? SetCloexec(move.to, false)
                     : syscall(SYS_dup3, move.from, move.to, 0) >= 0;
    if (!moved) return false;
  }
  if (!plan.close_other_fds) return true;
  unsigned next = STDERR_FILENO + 1;
  for (int i = 0; i < plan.fd_count; ++i) {
    unsigned to = static_cast<unsigned>(plan.fds[i].to);
    if (to < next) continue;
    CloseOnExec(next, to - 1);
    next = to + 1;
  }
  CloseOnExec(next, UINT_MAX);
  return true;
}

bool SetParentDeathSignal(const ChildPlan& plan) {
  if (plan.parent_death_signal == 0) return true;
  if (syscall(SYS_prctl, PR_SET_PDEATHSIG, plan.parent_death_signal, 0, 0, 0) <
      0) {
    return false;
  }
  // It died before: nobody is left to be told.
  if (syscall(SYS_getppid) != plan.parent) syscall(SYS_exit_group, 127);
  return true;
}

bool ResetSignals(const ChildPlan& plan) {
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    KernelSigaction action{};
    if ((plan.keep_ignored & SignalBit(signal)) != 0) {
      syscall(SYS_rt_sigaction, signal, nullptr, &action, sizeof(SignalSet));
      if (action.handler == SIG_IGN) continue;
      action = KernelSigaction{};
    }
    action.handler = SIG_DFL;
    syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof(SignalSet));
  }
  SignalSet none = 0;
  return syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr,
                 sizeof(none)) == 0;
}

// As execvp(3): a directory of PATH where there is no such file, or which we
// may not search, does not end the search.
int Exec(const ChildPlan& plan) {
  bool forbidden = false;
  int error = ENOENT;
  for (const char* const* path = plan.paths; *path != nullptr; ++path) {
    syscall(SYS_execve, *path, plan.argv, plan.envp);
    error = errno;
    if (error == ENOEXEC && plan.shell_argv != nullptr) {
      plan.shell_argv[1] = *path;
      syscall(SYS_execve, plan.shell_argv[0], plan.shell_argv, plan.envp);
    }
    switch (error) {
      case EACCES:
        forbidden = true;
        break;
      case ENOENT:
      case ENOTDIR:
      case ESTALE:
      case ENODEV:
      case ETIMEDOUT:
        break;
      default:
        return error;
    }
  }
  return forbidden ? EACCES : error;
}

}  // namespace

void RunChild(const ChildPlan& plan, ChildFailure* failure) {
  ChildStage stage = ChildStage::kNone;
  int error = 0;
  if (!LeaveProcessGroup(plan)) {
    stage = ChildStage::kProcessGroup;
  } else if (!MoveDescriptors(plan)) {
    stage = ChildStage::kDescriptors;
  } else if (plan.working_directory != nullptr &&
             syscall(SYS_chdir, plan.working_directory) < 0) {
    stage = ChildStage::kWorkingDirectory;
  } else if (!SetLimits(plan)) {
    stage = ChildStage::kLimits;
  } else if (!SetParentDeathSignal(plan)) {
    stage = ChildStage::kParentDeath;
  } else if (!ResetSignals(plan)) {
    stage = ChildStage::kSignals;
  } else {
    error = Exec(plan);
    stage = ChildStage::kExec;
  }
  failure->error = error != 0 ? error : errno;
  failure->stage = stage;
  for (;;) syscall(SYS_exit_group, 127);
}

void RunChildEntry(void* argument) {
  const ChildEntry* entry = static_cast<const ChildEntry*>(argument);
  RunChild(*entry->plan, entry->failure);
}

}  // namespace treekill::kernel
