// odd_syscalls FILTER PROGRAM [ARG...]
// odd_syscalls --ask
//
// Becomes PROGRAM under a seccomp filter that makes one system call answer as
// an older kernel, or a container's policy, would. For odd_machine. With --ask,
// says how those calls answer here.

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iterator>

namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "which architecture's system calls are these?"
#endif

constexpr int kFailed = 125;

struct Filter {
  const char* name;
  uint32_t call;
  // Calls whose second argument is less pass; 0 is for all calls.
  uint32_t least;
  int error;
};

// A filter cannot look into clone3's structure, only at its size: 88 bytes have
// room for CLONE_INTO_CGROUP, whether it is asked for or not.
constexpr Filter kFilters[] = {
    {"clone3-eperm", SYS_clone3, 0, EPERM},
    {"clone3-enosys", SYS_clone3, 0, ENOSYS},
    {"clone-into-cgroup", SYS_clone3, 88, E2BIG},
    {"pidfd-signal", SYS_pidfd_send_signal, 0, ENOSYS},
    {"pidfd-signal-eperm", SYS_pidfd_send_signal, 0, EPERM},
};

int Install(const Filter& filter) {
  constexpr uint32_t kSecond = offsetof(seccomp_data, args) + sizeof(uint64_t);
  const sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, filter.call, 0, 3),
      // The lower half, first on both architectures.
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kSecond),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, filter.least, 0, 1),
      BPF_STMT(BPF_RET | BPF_K,
               SECCOMP_RET_ERRNO | static_cast<uint32_t>(filter.error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog all = {std::size(program),
                          const_cast<sock_filter*>(program)};
  // Root keeps the right to run setuid programs.
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0) == 0) return 0;
  if (errno != EACCES) return -1;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0);
}

void Say(const char* call, long answer) {
  printf("%s: %s\n", call, answer < 0 ? strerrorname_np(errno) : "done");
  // A child would write it again.
  fflush(stdout);
}

long Clone3(size_t size) {
  clone_args arguments = {};
  arguments.exit_signal = SIGCHLD;
  long pid = syscall(SYS_clone3, &arguments, size);
  if (pid == 0) _exit(0);
  if (pid > 0) waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return pid;
}

int Ask() {
  Say("clone3 with room for a cgroup", Clone3(CLONE_ARGS_SIZE_VER2));
  Say("clone3 without", Clone3(CLONE_ARGS_SIZE_VER0));
  int self = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  Say("pidfd_send_signal", syscall(SYS_pidfd_send_signal, self, 0, nullptr, 0));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--ask") == 0) return Ask();
  if (argc < 3) {
    fprintf(stderr, "usage: odd_syscalls FILTER PROGRAM [ARG...] | --ask\n");
    return kFailed;
  }
  for (const Filter& filter : kFilters) {
    if (strcmp(argv[1], filter.name) != 0) continue;
    if (Install(filter) != 0) {
      fprintf(stderr, "odd_syscalls: seccomp: %s\n", strerror(errno));
      return kFailed;
    }
    execvp(argv[2], argv + 2);
    int error = errno;
    fprintf(stderr, "odd_syscalls: %s: %s\n", argv[2], strerror(error));
    return error == ENOENT ? 127 : 126;
  }
  fprintf(stderr, "odd_syscalls: no filter %s\n", argv[1]);
  return kFailed;
}
