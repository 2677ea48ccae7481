// Everything in this file runs between clone and exec; see child.h for what
// that forbids.
#include "treekill/kernel/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>

#include "treekill/kernel/raw_call.h"

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

// Where `parent` has died before, nobody is left to be told.
long DieWithParent(int signal, pid_t parent) {
  long set = Call(SYS_prctl, PR_SET_PDEATHSIG, signal, 0, 0, 0);
  if (set >= 0 && Call(SYS_getppid) != parent) Call(SYS_exit_group, 127);
  return set;
}

void Park(const ChildPlan& plan) {
  if (plan.park_fd < 0) return;
  Call(SYS_prctl, PR_SET_NAME, plan.park_name, 0, 0, 0);
  if (plan.park_bound) DieWithParent(SIGKILL, plan.parent);
  pollfd wake{plan.park_fd, POLLIN, 0};
  timespec patience{plan.park_ms / 1000, plan.park_ms % 1000 * 1000000L};
  bool for_ever = plan.park_ms < 0;
  long ready = 0;
  do {
    ready =
        Call(SYS_ppoll, &wake, 1, for_ever ? nullptr : &patience, nullptr, 0);
  } while (for_ever && ready <= 0);
}

// The steps return what Call() does.

long JoinCgroup(const ChildPlan& plan) {
  if (plan.cgroup_procs_fd < 0) return 0;
  return Call(SYS_write, plan.cgroup_procs_fd, "0", 1);
}

long LeaveProcessGroup(const ChildPlan& plan) {
  if (plan.new_session) return Call(SYS_setsid);
  if (!plan.new_process_group && plan.process_group == 0) return 0;
  return Call(SYS_setpgid, 0, plan.process_group);
}

long SetLimits(const ChildPlan& plan) {
  for (int i = 0; i < plan.limit_count; ++i) {
    const ChildLimit& limit = plan.limits[i];
    uint64_t values[2] = {limit.soft, limit.hard};
    long set = Call(SYS_prlimit64, 0, limit.resource, values, nullptr);
    if (set < 0) return set;
  }
  return 0;
}

long SetCloexec(int fd, bool on) {
  return Call(SYS_fcntl, fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

// Marks [first, last] close-on-exec; before Linux 5.11 one by one.
void CloseOnExec(unsigned first, unsigned last) {
  if (first > last) return;
  if (Call(SYS_close_range, first, last, kCloseRangeCloexec) == 0) return;
  uint64_t limit[2] = {1024, 1024};
  Call(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limit);
  for (unsigned fd = first; fd <= last && fd < limit[0]; ++fd) {
    SetCloexec(static_cast<int>(fd), true);
  }
}

// First everything out of the way of every target, so that none is overwritten
// before it has been copied.
long LiftSources(const ChildPlan& plan) {
  int above = STDERR_FILENO + 1;
  if (plan.fd_count > 0 && plan.fds[plan.fd_count - 1].to >= above) {
    above = plan.fds[plan.fd_count - 1].to + 1;
  }
  for (int i = 0; i < plan.fd_count; ++i) {
    FdMove& move = plan.fds[i];
    if (move.from == move.to || move.from >= above) continue;
    long copy = Call(SYS_fcntl, move.from, F_DUPFD_CLOEXEC, above);
    if (copy < 0) return copy;
    move.from = static_cast<int>(copy);
  }
  return 0;
}

long MoveDescriptors(const ChildPlan& plan) {
  long lifted = LiftSources(plan);
  if (lifted < 0) return lifted;
  for (int i = 0; i < plan.fd_count; ++i) {
    const FdMove& move = plan.fds[i];
    long moved = move.from == move.to ? SetCloexec(move.to, false)
                                      : Call(SYS_dup3, move.from, move.to, 0);
    if (moved < 0) return moved;
  }
  if (!plan.close_other_fds) return 0;
  unsigned next = STDERR_FILENO + 1;
  for (int i = 0; i < plan.fd_count; ++i) {
    unsigned to = static_cast<unsigned>(plan.fds[i].to);
    if (to < next) continue;
    CloseOnExec(next, to - 1);
    next = to + 1;
  }
  CloseOnExec(next, UINT_MAX);
  return 0;
}

long ChangeDirectory(const ChildPlan& plan) {
  if (plan.working_directory == nullptr) return 0;
  return Call(SYS_chdir, plan.working_directory);
}

long SetParentDeathSignal(const ChildPlan& plan) {
  if (plan.parent_death_signal != 0) {
    return DieWithParent(plan.parent_death_signal, plan.parent);
  }
  return plan.park_bound ? Call(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0) : 0;
}

long GiveUpPrivileges(const ChildPlan& plan) {
  if (!plan.no_new_privileges) return 0;
  return Call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

long SetSignals(const ChildPlan& plan) {
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    KernelSigaction action{};
    if ((plan.keep_ignored & SignalBit(signal)) != 0) {
      Call(SYS_rt_sigaction, signal, nullptr, &action, sizeof(SignalSet));
      if (action.handler == SIG_IGN) continue;
      action = KernelSigaction{};
    }
    action.handler = SIG_DFL;
    Call(SYS_rt_sigaction, signal, &action, nullptr, sizeof(SignalSet));
  }
  return Call(SYS_rt_sigprocmask, SIG_SETMASK, &plan.blocked, nullptr,
              sizeof(SignalSet));
}

void WritePid(const ChildPlan& plan) {
  if (plan.pid_text_count == 0) return;
  char digits[kPidDigits];
  int count = 0;
  for (long pid = Call(SYS_getpid); pid > 0 && count < kPidDigits; pid /= 10) {
    digits[count++] = static_cast<char>('0' + pid % 10);
  }
  for (int i = 0; i < plan.pid_text_count; ++i) {
    char* text = plan.pid_texts[i];
    for (int left = count; left > 0; --left) *text++ = digits[left - 1];
    *text = '\0';
  }
}

// As execvp(3): a directory of PATH where there is no such file, or which we
// may not search, does not end the search.
long Exec(const ChildPlan& plan) {
  bool forbidden = false;
  long error = -ENOENT;
  for (const char* const* path = plan.paths; *path != nullptr; ++path) {
    error = Call(SYS_execve, *path, plan.argv, plan.envp);
    if (error == -ENOEXEC && plan.shell_argv != nullptr) {
      plan.shell_argv[1] = *path;
      Call(SYS_execve, plan.shell_argv[0], plan.shell_argv, plan.envp);
    }
    switch (error) {
      case -EACCES:
        forbidden = true;
        break;
      case -ENOENT:
      case -ENOTDIR:
      case -ESTALE:
      case -ENODEV:
      case -ETIMEDOUT:
        break;
      default:
        return error;
    }
  }
  return forbidden ? -EACCES : error;
}

struct Step {
  ChildStage stage;
  long (*run)(const ChildPlan&);
};

constexpr Step kSteps[] = {{ChildStage::kCgroup, JoinCgroup},
                           {ChildStage::kProcessGroup, LeaveProcessGroup},
                           {ChildStage::kDescriptors, MoveDescriptors},
                           {ChildStage::kWorkingDirectory, ChangeDirectory},
                           {ChildStage::kLimits, SetLimits},
                           {ChildStage::kParentDeath, SetParentDeathSignal},
                           {ChildStage::kPrivileges, GiveUpPrivileges},
                           {ChildStage::kSignals, SetSignals},
                           {ChildStage::kExec, Exec}};

}  // namespace

void RunChild(const ChildPlan& plan, ChildFailure* failure) {
  Park(plan);
  WritePid(plan);
  for (const Step& step : kSteps) {
    long result = step.run(plan);
    if (result >= 0) continue;
    failure->error = static_cast<int>(-result);
    failure->stage = step.stage;
    break;
  }
  for (;;) Call(SYS_exit_group, 127);
}

void RunChildEntry(void* argument) {
  const ChildEntry* entry = static_cast<const ChildEntry*>(argument);
  RunChild(*entry->plan, entry->failure);
}

}  // namespace treekill::kernel
