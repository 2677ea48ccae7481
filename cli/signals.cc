#include "cli/signals.h"

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "cli/fd.h"
#include "treekill/kernel/signals.h"

namespace treekill::cli {
namespace {

bool IsIgnored(int signal) {
  struct sigaction action;
  return sigaction(signal, nullptr, &action) == 0 &&
         action.sa_handler == SIG_IGN;
}

void SetDefault(int signal, int flags) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  action.sa_flags = flags;
  sigaction(signal, &action, nullptr);
}

sigset_t SetOf(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

std::optional<Signals::Received> NextOf(int fd) {
  signalfd_siginfo info;
  if (read(fd, &info, sizeof(info)) != sizeof(info)) return std::nullopt;
  return Signals::Received{static_cast<int>(info.ssi_signo),
                           info.ssi_code == SI_KERNEL};
}

}  // namespace

Signals::Signals() {
  kernel::BlockAllSignals();
  // Ignored, the kernel would reap the command before we can.
  SetDefault(SIGCHLD, 0);
  sigset_t wanted;
  sigemptyset(&wanted);
  sigset_t ends = SetOf(SIGTERM);
  for (int signal : {SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP,
                     SIGCHLD, kParentDeath}) {
    sigaddset(&wanted, signal);
  }
  for (int signal : {SIGHUP, SIGINT, SIGQUIT}) {
    if (IsIgnored(signal)) {
      ignored_.push_back(signal);
    } else {
      sigaddset(&wanted, signal);
      sigaddset(&ends, signal);
    }
  }
  end_fd_ =
      AboveStandardStreams(signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  fd_ = AboveStandardStreams(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
}

Signals::~Signals() {
  for (int fd : {fd_, end_fd_}) {
    if (fd >= 0) close(fd);
  }
}

std::optional<Signals::Received> Signals::Next() { return NextOf(fd_); }

int Signals::TakeEnd() { return NextOf(end_fd_).value_or(Received()).signal; }

void StopSelf() {
  SetDefault(SIGTSTP, 0);
  raise(SIGTSTP);
  sigset_t stop = SetOf(SIGTSTP);
  sigprocmask(SIG_UNBLOCK, &stop, nullptr);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
}

void DieBySignal(int signal) {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (signal != SIGKILL) SetDefault(signal, 0);
  raise(signal);
  sigset_t set = SetOf(signal);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace treekill::cli
