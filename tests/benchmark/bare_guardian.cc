// bare_guardian [--guardian] PROGRAM: what the kernel makes one pay for a
// guardian, with nothing of treekill in between. Runs PROGRAM and waits for it;
// with --guardian, another process stands by meanwhile, in a session of its
// own, and is killed and reaped in the end.
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

int main(int argc, char** argv) {
  bool guarded = argc > 1 && strcmp(argv[1], "--guardian") == 0;
  char** command = argv + (guarded ? 2 : 1);
  pid_t guardian = guarded ? fork() : -1;
  if (guardian == 0) {
    setsid();
    for (;;) poll(nullptr, 0, -1);
  }
  while (guarded && getsid(guardian) != guardian) sched_yield();
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
