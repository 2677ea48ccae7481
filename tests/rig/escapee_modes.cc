#include "escapee_modes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <new>
#include <sstream>

namespace escapee {
namespace {

constexpr int kBombSeconds = 60;
constexpr int kOrphans = 3000;

// A member that is executed reports by the handshake's descriptor.
Arguments Member(const char* mode) {
  return Arguments({"escapee", mode, "--cookie=" + g_cookie,
                    "--ready-fd=" + std::to_string(g_write_fd)});
}

std::string Unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

struct Cgroup {
  std::string mount;
  std::string below;  // Empty in the root of the mount, else "/...".
  std::string Path() const { return mount + below; }
};

Cgroup OwnCgroup() {
  std::string own, line;
  std::ifstream cgroup("/proc/self/cgroup");
  while (getline(cgroup, line)) {
    if (line.starts_with("0::")) own = line.substr(3);
  }
  if (own == "/") own.clear();
  std::ifstream mountinfo("/proc/self/mountinfo");
  while (getline(mountinfo, line)) {
    size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    if (!line.substr(dash + 3).starts_with("cgroup2 ")) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, mount;
    fields >> id >> parent >> device >> root >> mount;
    root = Unescape(root);
    if (root == "/") root.clear();
    if (!(own + "/").starts_with(root + "/")) continue;
    return {Unescape(mount), own.substr(root.size())};
  }
  Fail(kUnavailable, "no cgroup2 mount shows the own cgroup", 0);
}

void WriteTo(const std::string& path, const char* text, const char* what) {
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) FailOrRefused(what, errno);
  if (write(fd, text, strlen(text)) < 0) FailOrRefused(what, errno);
  close(fd);
}

void MakeCgroup(const std::string& path) {
  if (mkdir(path.c_str(), 0755) < 0) FailOrRefused("mkdir of a cgroup", errno);
}

void Join(const std::string& path) {
  WriteTo(path + "/cgroup.procs", "0", "write to cgroup.procs");
}

void Setsid() { Check(setsid(), "setsid"); }

void Child() {
  Spawn([] {});
  Collect(1);
}

void ProcessGroup() {
  Spawn([] { Check(setpgid(0, 0), "setpgid"); });
  Collect(1);
}

void SetsidMode() {
  Spawn(Setsid);
  Collect(1);
}

void DoubleFork() {
  pid_t middle = Fork();
  if (middle == 0) {
    Setsid();
    Spawn([] {});
    _exit(0);
  }
  Wait(middle, 0);
  Collect(1);
}

void Daemon() {
  pid_t middle = Fork();
  if (middle == 0) {
    Check(daemon(0, 0), "daemon");
    ArmLife();
    Ready();
    Sleep();
  }
  Wait(middle, 0);
  Collect(1);
}

void Bare() {
  Spawn([] {
    Setsid();
    Arguments arguments = Member("sleep");
    Check(fcntl(g_write_fd, F_SETFD, 0), "fcntl");
    Check(close_range(0, g_write_fd - 1, 0), "close_range");
    Check(close_range(g_write_fd + 1, ~0U, 0), "close_range");
    char* environment[] = {nullptr};
    execve(kSelf, arguments.argv.data(), environment);
    Fail(kBroken, "execve", errno);
  });
  Collect(1);
}

void IgnoreSignals() {
  Spawn([] {
    Setsid();
    for (int number = 1; number <= SIGRTMAX; ++number) {
      signal(number, SIG_IGN);
    }
    // sigprocmask() would leave out the two signals that libc keeps.
    uint64_t all = ~uint64_t{0};
    Check(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, nullptr, sizeof(all)),
          "rt_sigprocmask");
  });
  Collect(1);
}

void Stopped() {
  pid_t pid = Fork();
  if (pid == 0) {
    // In the leader's session the kernel would continue it at the leader's
    // end, as a stopped member of a newly orphaned process group.
    Setsid();
    Ready();
    raise(SIGSTOP);
    Sleep();
  }
  Collect(1);
  if (!WIFSTOPPED(Wait(pid, WUNTRACED))) Fail(kBroken, "not stopped", 0);
}

// No PTRACE_O_EXITKILL: the tracee has to be found for itself.
void Traced() {
  Spawn([] {
    Setsid();
    int gate[2];
    Check(pipe2(gate, O_CLOEXEC), "pipe2");
    pid_t tracee = Fork();
    if (tracee == 0) {
      Setsid();
      Ready();
      close(gate[0]);
      close(gate[1]);
      Sleep();
    }
    close(gate[1]);
    char byte;
    Check(read(gate[0], &byte, 1), "read");
    close(gate[0]);
    if (ptrace(PTRACE_SEIZE, tracee, nullptr, nullptr) < 0) {
      FailOrRefused("PTRACE_SEIZE", errno);
    }
    Check(ptrace(PTRACE_INTERRUPT, tracee, nullptr, nullptr),
          "PTRACE_INTERRUPT");
    if (!WIFSTOPPED(Wait(tracee, 0))) Fail(kBroken, "not in ptrace-stop", 0);
  });
  Collect(2);
}

void Frozen() {
  std::string path = OwnCgroup().Path() + "/frozen";
  MakeCgroup(path);
  Spawn([&] { Join(path); });
  Collect(1);
  WriteTo(path + "/cgroup.freeze", "1", "write to cgroup.freeze");
  for (int i = 0; i < 5000; ++i) {
    std::ifstream events(path + "/cgroup.events");
    std::string line;
    while (getline(events, line)) {
      if (line == "frozen 1") return;
    }
    SleepMs(2);
  }
  Fail(kBroken, "cgroup.events does not say frozen 1", 0);
}

// Modes that share a cgroup nest under names of their own.
void Nest(const char* first) {
  std::string path = OwnCgroup().Path();
  for (const char* name : {first, "/b", "/c"}) {
    path += name;
    MakeCgroup(path);
    Spawn([&] { Join(path); });
  }
  Collect(3);
}

void Nested() { Nest("/a"); }

void NestedLocked() {
  Nest("/locked");
  Check(chmod((OwnCgroup().Path() + "/locked/b").c_str(), 0), "chmod");
}

void Vfork() {
  Arguments arguments = Member("sleep");
  pid_t pid = vfork();
  if (pid == 0) {
    fcntl(g_write_fd, F_SETFD, 0);
    execv(kSelf, arguments.argv.data());
    _exit(kBroken);
  }
  g_children.push_back(Check(pid, "vfork"));
  Collect(1);
}

void Threads() {
  Spawn([] {
    pthread_t threads[4];
    auto body = [](void*) -> void* {
      Spawn([] {});
      return nullptr;
    };
    for (pthread_t& thread : threads) {
      int error = pthread_create(&thread, nullptr, body, nullptr);
      if (error != 0) Fail(kBroken, "pthread_create", error);
    }
    for (pthread_t thread : threads) pthread_join(thread, nullptr);
  });
  Collect(5);
}

void CloneParent() {
  pid_t leader = getpid();
  pid_t helper = Fork();
  if (helper == 0) {
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (Check(pid, "clone") > 0) _exit(0);
    BecomeMember();
    if (getppid() != leader) Fail(kBroken, "not a child of the leader", 0);
    Ready();
    Sleep();
  }
  Wait(helper, 0);
  Collect(1);
}

void Subreaper() {
  Spawn([] {
    Check(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl");
    pid_t middle = Fork();
    if (middle == 0) {
      Spawn(Setsid);
      _exit(0);
    }
    Wait(middle, 0);
  });
  Collect(2);
}

void PidNamespace() {
  Spawn([] {
    if (unshare(CLONE_NEWPID) < 0 &&
        (errno != EPERM || unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)) {
      FailOrRefused("unshare", errno);
    }
    Spawn([] { Spawn(Setsid); });
  });
  Collect(3);
}

void Setuid() {
  const char* helper = getenv("ESCAPEE_SETUID_HELPER");
  if (helper == nullptr) {
    Fail(kUnavailable, "ESCAPEE_SETUID_HELPER is not set", 0);
  }
  Spawn([&] {
    Arguments arguments = Member("setuid-member");
    Check(fcntl(g_write_fd, F_SETFD, 0), "fcntl");
    execv(helper, arguments.argv.data());
    Fail(kBroken, "execv of ESCAPEE_SETUID_HELPER", errno);
  });
  Collect(1);
}

void Migrate() {
  Cgroup own = OwnCgroup();
  if (own.below.empty()) Fail(kUnavailable, "the own cgroup is a root", 0);
  own.below.erase(own.below.rfind('/'));
  Spawn([&] {
    Setsid();
    Join(own.Path());
    Spawn([] {});
  });
  Collect(2);
}

struct Bomb {
  std::atomic<bool> lit = false;
  std::atomic<int> orphans = kOrphans;
};

[[noreturn]] void Lineage(int index, time_t end, Bomb* bomb) {
  pid_t reaper = getppid();
  if (index % 2 == 1) Setsid();
  Ready();
  // The first ones would slow down the making of the last ones.
  while (!bomb->lit && NowSeconds() < end) SleepMs(1);
  for (;;) {
    SleepMs(4 + index % 5);
    if (getppid() != reaper && bomb->orphans.fetch_sub(1) <= 0) SleepMs(1000);
    pid_t parent = getpid();
    for (;;) {
      if (NowSeconds() >= end) _exit(0);
      pid_t pid = fork();
      if (pid > 0) _exit(0);
      if (pid == 0) break;
      SleepMs(1);
    }
    if (index % 2 == 1) Setsid();
    // Never three of one lineage at a time, however slowly one exits.
    while (getppid() == parent && NowSeconds() < end) SleepMs(1);
  }
}

// An init that reaps slowly would let the dead use up all pids of the machine.
// Hence a reaper, and a limit on those that die after it has been killed.
void ForkBomb() {
  g_life = kBombSeconds + 1;
  Spawn([] {
    Check(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl");
    signal(SIGCHLD, SIG_IGN);
    void* page = mmap(nullptr, sizeof(Bomb), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) Fail(kBroken, "mmap", errno);
    Bomb* bomb = new (page) Bomb;
    time_t end = NowSeconds() + kBombSeconds;
    for (int i = 0; i < g_count; ++i) {
      if (Fork() == 0) Lineage(i, end, bomb);
    }
    bomb->lit = true;
  });
  Collect(g_count + 1);
  // The others have ended, and their pids are soon somebody else's.
  g_members = g_children;
}

void Sleepers() {
  for (int i = 0; i < g_count; ++i) {
    Spawn([i] {
      if (i % 3 == 0) Setsid();
    });
  }
  Collect(g_count);
}

void OutputHolder() {
  Check(fcntl(STDOUT_FILENO, F_GETFD), "fcntl of stdout");
  Spawn([] {
    Setsid();
    close(STDIN_FILENO);
    close(STDERR_FILENO);
  });
  Collect(1);
}

void HandleTerm(void (*handler)(int)) {
  signal(SIGTERM, handler);
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_UNBLOCK, &term, nullptr);
}

void TermThenChild() {
  HandleTerm(SIG_DFL);
  Spawn([] { signal(SIGTERM, SIG_IGN); });
  Collect(1);
}

void SlowTerm() {
  Spawn([] {});
  HandleTerm([](int) {
    SleepMs(200);
    _exit(7);
  });
  Collect(1);
}

}  // namespace

const std::vector<Mode>& Modes() {
  static const std::vector<Mode> modes = {
      {"child", Child, 0},
      {"process-group", ProcessGroup, 0},
      {"setsid", SetsidMode, 0},
      {"double-fork", DoubleFork, 0},
      {"daemon", Daemon, 0},
      {"bare", Bare, 0},
      {"ignore-signals", IgnoreSignals, 0},
      {"stopped", Stopped, 0},
      {"traced", Traced, 0},
      {"frozen", Frozen, 0},
      {"nested", Nested, 0},
      {"nested-locked", NestedLocked, 0},
      {"vfork", Vfork, 0},
      {"threads", Threads, 0},
      {"clone-parent", CloneParent, 0},
      {"subreaper", Subreaper, 0},
      {"pid-namespace", PidNamespace, 0},
      {"setuid", Setuid, 0},
      {"migrate", Migrate, 0},
      {"fork-bomb", ForkBomb, 200},
      {"sleepers", Sleepers, 2000},
      {"output-holder", OutputHolder, 0},
      {"term-then-child", TermThenChild, 0},
      {"slow-term", SlowTerm, 0},
  };
  return modes;
}

}  // namespace escapee
