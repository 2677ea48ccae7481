// bare_guardian [--guardian] PROGRAM: what the kernel makes one pay for a
// guardian, with nothing of treekill in between. Runs PROGRAM and waits for it;
// with --guardian, another process on the same memory stands by meanwhile, and
// is killed and reaped in the end.
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

namespace {

alignas(16) char stack[64 * 1024];

int StandBy(void*) {
  for (;;) syscall(SYS_ppoll, nullptr, 0, nullptr, nullptr, 0);
}

}  // namespace

int main(int argc, char** argv) {
  bool guarded = argc > 1 && strcmp(argv[1], "--guardian") == 0;
  char** command = argv + (guarded ? 2 : 1);
  pid_t guardian = guarded ? clone(StandBy, stack + sizeof(stack),
                                   CLONE_VM | SIGCHLD, nullptr)
                           : -1;
  pid_t pid = vfork();
  if (pid == 0) {
    execvp(command[0], command);
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (guarded) {
    kill(guardian, SIGKILL);
    waitpid(guardian, nullptr, 0);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
