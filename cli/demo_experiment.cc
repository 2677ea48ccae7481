#include "cli/demo_experiment.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::cli {
namespace {

// What takes longer is taken for hanging.
constexpr absl::Duration kStartPatience = absl::Seconds(20);
// A treekill that has met somebody whom it cannot kill tries for longer, but
// has sent its SIGKILL a tenth of a second after its TERM.
constexpr absl::Duration kEndPatience = absl::Seconds(3);
// Who is alive so long after the last end lives on. The dead are noticed at
// once.
constexpr absl::Duration kWatchPatience = absl::Seconds(2);
constexpr absl::Duration kCleanPatience = absl::Seconds(20);

constexpr Escapee kEscapees[] = {
    {"the command itself", "leader"},
    {"child", "child"},
    {"grandchild", "grandchild"},
    {"setsid", "setsid"},
    {"double fork", "double-fork"},
    {"ignores TERM", "ignore-term"},
    {.name = "daemon in a nested cgroup",
     .mode = "nested",
     .needs_cgroup = true},
    {.name = "daemon in another cgroup", .mode = "move", .needs_cgroup = true},
    {.name = "setuid program", .mode = "setuid", .as_nobody = true},
    {.name = "leader's parent SIGKILLed",
     .mode = "child",
     .kills_starter = true},
};

// The one without a name of treekill's is PR_SET_PDEATHSIG.
const Method kMethods[] = {
    {"process", "process"},      {"process-group", "process-group"},
    {"parent-death signal", ""}, {"subreaper", "subreaper"},
    {"cgroup", "cgroup"},        {"scope", "scope"}};

absl::Status Because(const std::string& call) {
  return absl::UnavailableError(absl::StrCat(call, ": ", strerror(errno)));
}

bool CopyTo(int from, int to) {
  constexpr size_t kMuch = size_t{1} << 30;
  ssize_t copied = 1;
  while (copied > 0) copied = sendfile(to, from, nullptr, kMuch);
  return copied == 0;
}

// A copy of this program that is setuid root. It has no name, so that nobody
// else gets hold of it and nothing of it is left, whatever happens to us.
absl::StatusOr<OwnedFd> MakeSetuidProgram() {
  if (geteuid() != 0) {
    return absl::PermissionDeniedError(
        "only root can make the setuid-root program that it takes");
  }
  OwnedFd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (self.get() < 0) return Because("open /proc/self/exe");
  const char* variable = getenv("TMPDIR");
  std::string folder =
      variable == nullptr || *variable == '\0' ? "/tmp" : variable;
  OwnedFd copy(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0700));
  if (copy.get() < 0) {
    return Because(absl::StrCat("no nameless file in ", folder, ": open"));
  }
  if (!CopyTo(self.get(), copy.get())) return Because("sendfile");
  if (fchmod(copy.get(), 04755) < 0) return Because("fchmod");
  // What is open for writing cannot be executed.
  std::string path = absl::StrCat("/proc/self/fd/", copy.get());
  OwnedFd program(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (program.get() < 0) return Because(absl::StrCat("open ", path));
  return program;
}

// As systemd delegates one.
bool GiveToNobody(const std::string& cgroup) {
  for (const char* file :
       {"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"}) {
    if (chown(absl::StrCat(cgroup, file).c_str(), kNobody, kNobody) < 0) {
      return false;
    }
  }
  return true;
}

// Ours, and those that have come back to us.
std::vector<pid_t> Children() {
  std::vector<pid_t> children;
  std::ifstream file(absl::StrCat("/proc/self/task/", getpid(), "/children"));
  for (pid_t pid = 0; file >> pid;) children.push_back(pid);
  return children;
}

std::string NameOf(pid_t pid) {
  std::string name;
  std::ifstream file(absl::StrCat("/proc/", pid, "/comm"));
  std::getline(file, name);
  return name;
}

// Returns false when there are no children at all.
bool Reap() {
  for (;;) {
    siginfo_t info{};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0) return false;
    if (info.si_pid == 0) return true;
  }
}

// Polls, as nothing tells that a cgroup can be removed.
template <typename Condition>
bool Eventually(Condition condition, absl::Duration patience) {
  const auto end =
      std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(patience);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

}  // namespace

Experiment::Experiment() {
  for (const Method& method : kMethods) {
    trials_.emplace_back();
    for (const Escapee& escapee : kEscapees) {
      trials_.back().push_back(std::make_unique<Trial>(escapee, method));
    }
  }
}

void Experiment::MakeCgroups(const HostInfo& host) {
  site_.cgroup_error = host.cgroup;
  if (!host.cgroup.ok()) return;
  std::string start = absl::StrCat(host.own_cgroup, "/demo-", getpid(), "-");
  site_.elsewhere = start + "elsewhere";
  if (mkdir(site_.elsewhere.c_str(), 0755) < 0) {
    site_.cgroup_error = Because(absl::StrCat("mkdir ", site_.elsewhere));
  }
  if (geteuid() != 0) return;
  site_.nobodys = start + "nobody";
  if (mkdir(site_.nobodys.c_str(), 0755) < 0 || !GiveToNobody(site_.nobodys)) {
    site_.setuid_error = Because(absl::StrCat("cannot make ", site_.nobodys));
  }
}

void Experiment::Prepare() {
  HostInfo host = ProbeHost();
  if (!host.systemd_running) {
    site_.scope_error = absl::UnavailableError("no systemd runs here");
  }
  MakeCgroups(host);
  absl::StatusOr<OwnedFd> program = MakeSetuidProgram();
  if (!program.ok()) {
    site_.setuid_error = program.status();
  } else {
    site_.setuid_program = *std::move(program);
  }
}

absl::Status Experiment::Perform() {
  if (signals_.fd() < 0) return Because("cannot read signals: signalfd");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
    return Because("cannot adopt orphans: prctl");
  }
  Prepare();
  for (const Trials& trials : trials_) {
    std::vector<Trial*> now;
    for (const auto& trial : trials) {
      trial->Start(site_);
      now.push_back(trial.get());
    }
    absl::Status started = Serve(now, kStartPatience);
    if (!started.ok()) return started;
    for (const auto& trial : trials) trial->End();
  }
  absl::Status ended =
      Serve(All(), kernel::TimeLimit("demo-end", kEndPatience));
  if (!ended.ok()) return ended;
  for (Trial* trial : All()) trial->Watch();
  absl::Status watched =
      Serve(All(), kernel::TimeLimit("demo-watch", kWatchPatience));
  if (!watched.ok()) return watched;
  for (Trial* trial : All()) trial->Conclude();
  return absl::OkStatus();
}

std::vector<Trial*> Experiment::All() const {
  std::vector<Trial*> all;
  for (const Trials& trials : trials_) {
    for (const auto& trial : trials) all.push_back(trial.get());
  }
  return all;
}

// Until nothing is awaited, or time is over.
absl::Status Experiment::Serve(const std::vector<Trial*>& trials,
                               absl::Duration patience) {
  const auto end =
      std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(patience);
  for (;;) {
    std::vector<Trial*> waiting;
    std::vector<pollfd> fds = {{signals_.fd(), POLLIN, 0}};
    for (Trial* trial : trials) {
      if (trial->awaited() < 0) continue;
      waiting.push_back(trial);
      fds.push_back({trial->awaited(), POLLIN, 0});
    }
    auto left = std::chrono::ceil<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (waiting.empty() || left.count() <= 0) return absl::OkStatus();
    int ready = poll(fds.data(), fds.size(), static_cast<int>(left.count()));
    if (ready < 0) return Because("cannot wait: poll");
    TakeSignals();
    if (ended_by_ != 0) return absl::CancelledError("ended by a signal");
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (fds[i + 1].revents != 0) waiting[i]->Advance();
    }
  }
}

// The dead are reaped at once: a process group is not gone while they are
// there.
void Experiment::TakeSignals() {
  while (std::optional<Signals::Received> received = signals_.Next()) {
    switch (received->signal) {
      case SIGTERM:
      case SIGHUP:
      case SIGINT:
      case SIGQUIT:
        ended_by_ = received->signal;
        break;
      default:
        Reap();
    }
  }
}

// A treekill that ends its command, or the guardian of one: killed, it would
// leave a cgroup.
bool Experiment::MayGoByItself(pid_t pid) const {
  for (const Trial* trial : All()) {
    if (trial->IsStarter(pid)) return true;
  }
  return NameOf(pid) == "treekill-guard";
}

// Returns whether none is left.
bool Experiment::KillChildren() {
  bool gone = Eventually(
      [&] {
        for (pid_t pid : Children()) {
          if (!MayGoByItself(pid)) kill(pid, SIGKILL);
        }
        return !Reap();
      },
      kCleanPatience);
  if (gone) return true;
  return Eventually(
      [] {
        for (pid_t pid : Children()) kill(pid, SIGKILL);
        return !Reap();
      },
      kCleanPatience);
}

std::vector<std::string> Experiment::RemoveCgroups() {
  std::vector<std::string> cgroups = {site_.elsewhere, site_.nobodys};
  for (const Trial* trial : All()) cgroups.push_back(trial->cgroup());
  std::vector<std::string> left;
  for (const std::string& cgroup : cgroups) {
    if (cgroup.empty()) continue;
    bool removed =
        Eventually([&] { return rmdir(cgroup.c_str()) == 0 || errno != EBUSY; },
                   kCleanPatience);
    if (!removed || access(cgroup.c_str(), F_OK) == 0) {
      left.push_back(absl::StrCat("cgroup ", cgroup));
    }
  }
  return left;
}

std::vector<std::string> Experiment::Clean() {
  for (Trial* trial : All()) trial->Clean();
  bool gone = KillChildren();
  std::vector<std::string> left = RemoveCgroups();
  if (gone) return left;
  std::vector<pid_t> children = Children();
  for (pid_t pid : children) {
    left.push_back(absl::StrCat("process ", pid, " (", NameOf(pid), ")"));
  }
  // The kernel may be built without the list of them.
  if (children.empty()) left.push_back("processes that are not known");
  return left;
}

Matrix Experiment::Seen() const {
  Matrix matrix;
  for (const Method& method : kMethods) matrix.methods.push_back(method.name);
  for (size_t row = 0; row < std::size(kEscapees); ++row) {
    matrix.escapees.push_back(kEscapees[row].name);
    matrix.rows.emplace_back();
    for (const Trials& trials : trials_) {
      matrix.rows.back().push_back(trials[row]->seen());
    }
  }
  return matrix;
}

}  // namespace treekill::cli
