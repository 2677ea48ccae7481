// escapee MODE --cookie=STRING [--ready=FILE] [--then=exit|stay] [--count=N]
//
// Plays the leader of a process tree whose members try to get away.  It makes
// the members that MODE names, waits until they are established, writes their
// pids to FILE and then exits or stays.  Exit status: 99 when the set-up broke,
// 77 when the mode cannot be had on this machine.
//
// escapee crew --modes=MODE[:COUNT],... --cookie=STRING [--ready=FILE]
//         [--then=exit|stay]
//
// Plays the leader of many such leaders, one for each MODE, in one tree.  The
// cookie of each is STRING.MODE, so that its members are known by it.  FILE has
// the pids of these leaders, and is there when all of them have all their
// members; with --then=exit they have all exited before the crew does.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "escapee_modes.h"

namespace escapee {
namespace {

constexpr int kLifeSeconds = 600;

// Smaller than PIPE_BUF, so that one write is one read.
struct Report {
  int32_t code;
  int32_t pid;
  int32_t error;
  char what[52];
};

std::string g_mode;
bool g_leader = true;
int g_read_fd = -1;
int g_crew_fd = -1;  // Where a leader of a crew reports.

timespec Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now;
}

void Send(int code, const char* what, int error) {
  Report report = {};
  report.code = code;
  report.error = error;
  snprintf(report.what, sizeof(report.what), "%s", what);
  // getpid() would be wrong in a PID namespace; this /proc is the leader's.
  char self[32] = {};
  ssize_t length = readlink("/proc/self", self, sizeof(self) - 1);
  report.pid = length > 0 ? atoi(self) : getpid();
  while (write(g_write_fd, &report, sizeof(report)) < 0 && errno == EINTR) {
  }
  close(g_write_fd);
  g_write_fd = -1;
}

}  // namespace

std::string g_cookie;
int g_count = 0;
int g_life = kLifeSeconds;
int g_write_fd = -1;
std::vector<pid_t> g_children;
std::vector<pid_t> g_members;

[[noreturn]] void Fail(int code, const char* what, int error) {
  if (!g_leader && g_write_fd >= 0) {
    Send(code, what, error);
    _exit(code);
  }
  if (g_leader) {
    for (pid_t pid : g_children) kill(pid, SIGKILL);
    for (pid_t pid : g_members) kill(pid, SIGKILL);
  }
  if (error != 0) {
    fprintf(stderr, "escapee: %s: %s: %s (errno %d)\n", g_mode.c_str(), what,
            strerror(error), error);
  } else {
    fprintf(stderr, "escapee: %s: %s\n", g_mode.c_str(), what);
  }
  _exit(code);
}

long Check(long result, const char* what) {
  if (result < 0) Fail(kBroken, what, errno);
  return result;
}

// The mode is not to be had when the system refuses, as against a mistake.
[[noreturn]] void FailOrRefused(const char* what, int error) {
  bool refused = error == EPERM || error == EACCES || error == EROFS ||
                 error == EBUSY || error == ENOSPC || error == ENOSYS;
  Fail(refused ? kUnavailable : kBroken, what, error);
}

time_t NowSeconds() { return Now().tv_sec; }

void SleepMs(int ms) {
  timespec wait = {ms / 1000, ms % 1000 * 1000000L};
  while (nanosleep(&wait, &wait) < 0 && errno == EINTR) {
  }
}

// Only SIGKILL gets at a process that is stopped, traced or frozen.  The init
// of a PID namespace is immune to it, hence the deadline in Sleep().
void ArmLife() {
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0) return;
  itimerspec when = {};
  when.it_value.tv_sec = g_life + 1;
  timer_settime(timer, 0, &when, nullptr);
}

[[noreturn]] void Sleep() {
  timespec end = Now();
  end.tv_sec += g_life;
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) ==
         EINTR) {
  }
  _exit(0);
}

void BecomeMember() {
  g_leader = false;
  if (g_read_fd >= 0) close(g_read_fd);
  g_read_fd = -1;
  if (g_crew_fd >= 0) close(g_crew_fd);
  g_crew_fd = -1;
  ArmLife();
}

void Ready() { Send(0, "", 0); }

pid_t Fork() {
  pid_t pid = fork();
  if (pid < 0) Fail(kBroken, "fork", errno);
  if (pid == 0) {
    BecomeMember();
  } else if (g_leader) {
    g_children.push_back(pid);
  }
  return pid;
}

int Wait(pid_t pid, int flags) {
  int status = 0;
  while (waitpid(pid, &status, flags) < 0) {
    if (errno != EINTR) Fail(kBroken, "waitpid", errno);
  }
  if (!WIFSTOPPED(status)) std::erase(g_children, pid);
  return status;
}

namespace {

// The fds are above those that daemon() replaces.
void OpenHandshake() {
  int fds[2];
  Check(pipe2(fds, O_CLOEXEC), "pipe2");
  g_read_fd = Check(fcntl(fds[0], F_DUPFD_CLOEXEC, 10), "fcntl");
  g_write_fd = Check(fcntl(fds[1], F_DUPFD_CLOEXEC, 10), "fcntl");
  close(fds[0]);
  close(fds[1]);
}

}  // namespace

// The end of file proves that nobody holds the pipe any longer.
void Collect(size_t expected) {
  close(g_write_fd);
  g_write_fd = -1;
  Report bad = {};
  for (;;) {
    Report report;
    ssize_t length = read(g_read_fd, &report, sizeof(report));
    if (length < 0 && errno == EINTR) continue;
    Check(length, "read");
    if (length == 0) break;
    if (report.code == 0) {
      g_members.push_back(report.pid);
    } else if (bad.code == 0) {
      bad = report;
    }
  }
  close(g_read_fd);
  g_read_fd = -1;
  if (bad.code != 0) Fail(bad.code, bad.what, bad.error);
  if (g_members.size() != expected) {
    Fail(kBroken, "a member ended before it reported", 0);
  }
}

namespace {

[[noreturn]] void BeExeced(bool is_setuid) {
  g_leader = false;
  Check(fcntl(g_write_fd, F_SETFD, FD_CLOEXEC), "fcntl of --ready-fd");
  ArmLife();
  if (is_setuid) {
    if (setresuid(0, 0, 0) < 0) FailOrRefused("setresuid", errno);
    Check(setsid(), "setsid");
  }
  Ready();
  Sleep();
}

void PlayCrew(const std::string& modes, const std::string& then) {
  OpenHandshake();
  std::istringstream words(modes);
  for (std::string word; getline(words, word, ',');) {
    size_t colon = word.find(':');
    std::string mode = word.substr(0, colon);
    std::vector<std::string> text = {
        "escapee", mode, "--cookie=" + g_cookie + "." + mode, "--then=" + then,
        "--crew-fd=" + std::to_string(g_write_fd)};
    if (colon != std::string::npos) {
      text.push_back("--count=" + word.substr(colon + 1));
    }
    Arguments arguments(text);
    if (Fork() != 0) continue;
    Check(fcntl(g_write_fd, F_SETFD, 0), "fcntl");
    execv(kSelf, arguments.argv.data());
    Fail(kBroken, "execv", errno);
  }
  Collect(g_children.size());
  if (then == "stay") return;
  while (!g_children.empty()) {
    if (Wait(g_children.back(), 0) != 0) Fail(kBroken, "a leader failed", 0);
  }
}

void WriteReady(const std::string& file) {
  if (file.empty()) return;
  std::string temporary = file + ".tmp." + std::to_string(getpid());
  FILE* out = fopen(temporary.c_str(), "we");
  if (out == nullptr) Fail(kBroken, "fopen of --ready", errno);
  const char* gap = "";
  for (pid_t pid : g_members) {
    fprintf(out, "%s%d", gap, pid);
    gap = " ";
  }
  fputc('\n', out);
  if (fclose(out) != 0) Fail(kBroken, "fclose of --ready", errno);
  Check(rename(temporary.c_str(), file.c_str()), "rename of --ready");
}

}  // namespace

int Main(int argc, char** argv) {
  g_mode = argc > 1 ? argv[1] : "no mode";
  if (g_mode == "--list") {
    for (const Mode& mode : Modes()) puts(mode.name);
    return 0;
  }
  std::string ready, modes, then = "exit";
  for (int i = 2; i < argc; ++i) {
    std::string word = argv[i];
    std::string value = word.substr(std::min(word.find('=') + 1, word.size()));
    if (word.starts_with("--cookie=")) {
      g_cookie = value;
    } else if (word.starts_with("--ready=")) {
      ready = value;
    } else if (word == "--then=exit" || word == "--then=stay") {
      then = value;
    } else if (word.starts_with("--count=")) {
      g_count = atoi(value.c_str());
      if (g_count < 1) Fail(kBroken, "--count must be positive", 0);
    } else if (word.starts_with("--ready-fd=")) {
      g_write_fd = atoi(value.c_str());
    } else if (word.starts_with("--modes=")) {
      modes = value;
    } else if (word.starts_with("--crew-fd=")) {
      g_crew_fd = atoi(value.c_str());
      Check(fcntl(g_crew_fd, F_SETFD, FD_CLOEXEC), "fcntl of --crew-fd");
    } else {
      Fail(kBroken, ("unknown argument " + word).c_str(), 0);
    }
  }
  if (g_cookie.empty()) Fail(kBroken, "--cookie=STRING is needed", 0);
  if (g_mode == "setuid-member" || (g_mode == "sleep" && g_write_fd >= 0)) {
    BeExeced(g_mode == "setuid-member");
  }
  ArmLife();
  if (g_mode == "sleep") {
    g_members = {getpid()};
    WriteReady(ready);
    Sleep();
  }
  if (g_mode == "crew") {
    PlayCrew(modes, then);
    WriteReady(ready);
    if (then == "stay") Sleep();
    return 0;
  }
  for (const Mode& mode : Modes()) {
    if (g_mode != mode.name) continue;
    if (g_count == 0) g_count = mode.count;
    OpenHandshake();
    mode.run();
    WriteReady(ready);
    if (g_crew_fd >= 0) {
      g_write_fd = g_crew_fd;
      Ready();
    }
    if (then == "stay") Sleep();
    return 0;
  }
  Fail(kBroken, "unknown mode", 0);
}

}  // namespace escapee

int main(int argc, char** argv) { return escapee::Main(argc, argv); }
