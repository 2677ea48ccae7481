#include "cli/demo_escapee.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/output.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

// A net below the nets: far longer than the demo takes.
constexpr absl::Duration kLife = absl::Minutes(3);

// What a mode is given.
struct Stage {
  int report = -1;
  std::string place;
};

void Say(const Stage& stage, const std::string& line) {
  std::string text = absl::StrCat(line, "\n");
  // Nobody is there to be told when it fails.
  [[maybe_unused]] ssize_t written =
      write(stage.report, text.data(), text.size());
}

[[noreturn]] void Sleep() {
  absl::SleepFor(kLife);
  _exit(0);
}

[[noreturn]] void Escaped(const Stage& stage, const std::string& cgroup = "") {
  Say(stage, absl::StrCat(getpid(), cgroup.empty() ? "" : " ", cgroup));
  Sleep();
}

[[noreturn]] void Cannot(const Stage& stage, const std::string& why) {
  Say(stage, absl::StrCat("- ", why));
  _exit(kOwnFailure);
}

[[noreturn]] void CannotCall(const Stage& stage, const std::string& call) {
  Cannot(stage, absl::StrCat(call, ": ", strerror(errno)));
}

template <typename Body>
pid_t Start(const Stage& stage, Body body) {
  pid_t pid = fork();
  if (pid < 0) CannotCall(stage, "fork");
  if (pid > 0) return pid;
  body();
  _exit(0);
}

// Starts a daemon: an orphan in a session of its own.
template <typename Body>
void StartDaemon(const Stage& stage, Body body) {
  pid_t middle = Start(stage, [&] {
    setsid();
    pid_t parent = getpid();
    Start(stage, [&] {
      while (getppid() == parent) absl::SleepFor(absl::Milliseconds(1));
      body();
    });
  });
  waitpid(middle, nullptr, 0);
}

// Returns false, with errno, when it is not let in.
bool Join(const std::string& cgroup) {
  int fd =
      open(absl::StrCat(cgroup, "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool joined = write(fd, "0", 1) > 0;
  int error = errno;
  close(fd);
  errno = error;
  return joined;
}

void StartGrandchild(const Stage& stage) {
  Start(stage, [&] {
    Start(stage, [&] { Escaped(stage); });
    Sleep();
  });
}

void StartDeafChild(const Stage& stage) {
  Start(stage, [&] {
    signal(SIGTERM, SIG_IGN);
    Escaped(stage);
  });
}

void StartNestedDaemon(const Stage& stage) {
  StartDaemon(stage, [&] {
    HostInfo host = ProbeHost();
    if (!host.cgroup.ok()) {
      Cannot(stage, std::string(host.cgroup.message()));
    }
    std::string cgroup = absl::StrCat(host.own_cgroup, "/demo-", getpid());
    if (mkdir(cgroup.c_str(), 0755) < 0) {
      CannotCall(stage, absl::StrCat("mkdir ", cgroup));
    }
    if (!Join(cgroup)) {
      int error = errno;
      rmdir(cgroup.c_str());
      errno = error;
      CannotCall(stage, absl::StrCat("write ", cgroup, "/cgroup.procs"));
    }
    Escaped(stage, cgroup);
  });
}

void StartMovedDaemon(const Stage& stage) {
  StartDaemon(stage, [&] {
    if (!Join(stage.place)) {
      CannotCall(stage, absl::StrCat("write ", stage.place, "/cgroup.procs"));
    }
    Escaped(stage);
  });
}

void StartSetuidProgram(const Stage& stage) {
  Start(stage, [&] {
    std::string program = absl::StrCat("/proc/self/fd/", stage.place);
    std::string report = absl::StrCat(stage.report);
    execl(program.c_str(), "treekill", "demo-setuid", report.c_str(), nullptr);
    CannotCall(stage, "execve of the setuid program");
  });
}

struct Mode {
  const char* name;
  void (*start)(const Stage& stage);
};

constexpr Mode kModes[] = {
    {"leader", [](const Stage& stage) { Escaped(stage); }},
    {"child",
     [](const Stage& stage) { Start(stage, [&] { Escaped(stage); }); }},
    {"grandchild", StartGrandchild},
    {"setsid",
     [](const Stage& stage) {
       Start(stage, [&] {
         setsid();
         Escaped(stage);
       });
     }},
    {"double-fork",
     [](const Stage& stage) { StartDaemon(stage, [&] { Escaped(stage); }); }},
    {"ignore-term", StartDeafChild},
    {"nested", StartNestedDaemon},
    {"move", StartMovedDaemon},
    {"setuid", StartSetuidProgram},
};

// Starts the command as the direct child that the kernel is to kill.
int BeParent(const Stage& stage, const Mode& mode) {
  pid_t parent = getpid();
  Start(stage, [&] {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    mode.start(stage);
    Sleep();
  });
  Sleep();
}

}  // namespace

int DemoEscapeeMain(int argc, char** argv) {
  bool parent = argc > 1 && strcmp(argv[1], "parent") == 0;
  char** words = argv + (parent ? 1 : 0);
  int count = argc - (parent ? 1 : 0);
  Stage stage;
  if (count > 2 && absl::SimpleAtoi(words[2], &stage.report)) {
    if (count > 3) stage.place = words[3];
    for (const Mode& mode : kModes) {
      if (strcmp(mode.name, words[1]) != 0) continue;
      if (parent) return BeParent(stage, mode);
      mode.start(stage);
      Sleep();
    }
  }
  Message("demo-escapee is started by 'treekill demo', and by nobody else");
  return kOwnFailure;
}

bool IsSetuidProgram() {
  if (getuid() == geteuid()) return false;
  struct stat self;
  return stat("/proc/self/exe", &self) < 0 || (self.st_mode & S_ISUID) != 0;
}

int DemoSetuidMain(int argc, char** argv) {
  Stage stage;
  if (argc < 2 || strcmp(argv[1], "demo-setuid") != 0 ||
      !absl::SimpleAtoi(argv[argc - 1], &stage.report)) {
    Message("treekill is no setuid program, and refuses to run as one");
    return kOwnFailure;
  }
  if (!IsSetuidProgram()) Cannot(stage, "setuid programs have no effect here");
  // As sudo and su do: with the caller's real uid it could be signalled.
  if (setresuid(0, 0, 0) < 0) CannotCall(stage, "setresuid");
  Escaped(stage);
}

}  // namespace treekill::cli
