#include "tests/rig/rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/proc.h"
#include "treekill/treekill.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;

std::vector<pid_t> AllPids() {
  absl::StatusOr<std::vector<pid_t>> pids = kernel::ListProcesses();
  return pids.ok() ? *pids : std::vector<pid_t>();
}

bool IsAlive(pid_t pid) {
  std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
  return stat.has_value() && !stat->IsDead();
}

std::string RandomText() {
  std::random_device device;
  return absl::StrCat(absl::Hex(device(), absl::kZeroPad8),
                      absl::Hex(device(), absl::kZeroPad8));
}

// The test runs in a cgroup of its own, so that what it finds there at its end
// is its own doing, whoever else uses treekill on the machine.
class OwnCgroupEnvironment final : public testing::Environment {
 public:
  void SetUp() override {
    HostInfo host = ProbeHost();
    if (!host.cgroup.ok()) return;
    parent_ = host.own_cgroup;
    // A killed one of this number may have left its own.
    own_ = absl::StrCat(parent_, "/tk-tests-", getpid(), "-", RandomText());
    ASSERT_TRUE(fs::create_directory(own_));
    Enter(own_);
  }

  void TearDown() override {
    if (own_.empty()) return;
    Enter(parent_);
    // A guardian's end may take a moment.
    EXPECT_TRUE(Eventually([this] { return rmdir(own_.c_str()) == 0; }))
        << "something is left in " << own_;
  }

 private:
  static void Enter(const std::string& cgroup) {
    WriteAll(cgroup + "/cgroup.procs", absl::StrCat(getpid()));
  }

  std::string parent_;
  std::string own_;
};

const testing::Environment* const own_cgroup =
    testing::AddGlobalTestEnvironment(new OwnCgroupEnvironment);

std::string BuiltProgram(const char* relative) {
  return absl::StrCat(BuildFolder(), "/", relative);
}

}  // namespace

std::string WhyNoCgroup() {
  static const std::string* reason = [] {
    absl::Status status = ProbeHost().cgroup;
    return new std::string(status.ok() ? "" : std::string(status.message()));
  }();
  return *reason;
}

bool CgroupIsRequired() {
  const char* required = getenv("TREEKILL_REQUIRE_CGROUP");
  return required != nullptr && std::string(required) == "1";
}

std::string BuildFolder() { return TREEKILL_BUILD_DIR; }
std::string SourceFolder() { return TREEKILL_SOURCE_DIR; }

std::string TreekillPath() { return BuiltProgram("treekill"); }
std::string TreekillWithFaultsPath() {
  return BuiltProgram("tests/treekill_with_faults");
}
std::string EscapeePath() { return BuiltProgram("tests/escapee"); }

std::string ReadmeExamplePath() { return BuiltProgram("tests/readme_example"); }
std::string HostPath() { return BuiltProgram("tests/host"); }
std::string GuardianPath() { return BuiltProgram("treekill-guardian"); }
std::string OddMachinePath() { return BuiltProgram("tests/odd_machine"); }
std::string OddSyscallsPath() { return BuiltProgram("tests/odd_syscalls"); }

std::string NewCookie() { return absl::StrCat("cookie-", RandomText()); }

std::vector<pid_t> FindByCookie(const std::string& cookie) {
  std::vector<pid_t> found;
  for (pid_t pid : AllPids()) {
    if (pid == getpid()) continue;
    for (const char* file : {"environ", "cmdline"}) {
      std::string text = ReadAll(absl::StrCat("/proc/", pid, "/", file));
      if (!absl::StrContains(text, cookie)) continue;
      if (IsAlive(pid)) found.push_back(pid);
      break;
    }
  }
  return found;
}

char StateOf(pid_t pid) {
  std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
  return stat.has_value() ? stat->state : '-';
}

bool SleepsIn(pid_t pid, const std::string& part) {
  if (StateOf(pid) != 'S') return false;
  // Kernels before 5.16 know a stack, but mostly no wait channel.
  return absl::StrContains(ReadAll(absl::StrCat("/proc/", pid, "/stack")),
                           part);
}

bool IsAtRest(pid_t pid) {
  return StateOf(pid) == 'T' || SleepsIn(pid, "do_wait") ||
         SleepsIn(pid, "nanosleep") || SleepsIn(pid, "sigsuspend");
}

std::vector<pid_t> WaitForNobody(const std::string& cookie,
                                 absl::Duration patience) {
  std::vector<pid_t> found;
  Eventually(
      [&] {
        found = FindByCookie(cookie);
        return found.empty();
      },
      patience);
  return found;
}

void KillByCookie(const std::string& cookie) {
  Eventually([&] {
    std::vector<pid_t> found = FindByCookie(cookie);
    for (pid_t pid : found) kill(pid, SIGKILL);
    return found.empty();
  });
}

std::string OwnCgroup() { return ProbeHost().own_cgroup; }

std::vector<pid_t> MembersOfOwnCgroup() {
  std::vector<pid_t> members;
  std::ifstream file(OwnCgroup() + "/cgroup.procs");
  for (pid_t pid = 0; file >> pid;) members.push_back(pid);
  return members;
}

std::vector<std::string> LeftLeaves() {
  std::vector<std::string> leaves;
  std::error_code error;
  fs::recursive_directory_iterator entries(
      OwnCgroup(), fs::directory_options::skip_permission_denied, error);
  for (; !error && entries != fs::end(entries); entries.increment(error)) {
    if (absl::StartsWith(entries->path().filename().string(), "treekill-")) {
      leaves.push_back(entries->path());
    }
  }
  return leaves;
}

std::map<int, std::string> OpenFds() {
  std::map<int, std::string> fds;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::string target = fs::read_symlink(entry.path(), error);
    // The iterator's own.
    if (absl::EndsWith(target, "/fd")) continue;
    int fd = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &fd)) {
      fds[fd] = target;
    }
  }
  return fds;
}

FewDescriptors::FewDescriptors(rlim_t left) {
  int highest = OpenFds().rbegin()->first;
  // The gaps below it would be had as well.
  int filler = dup(highest);
  for (; filler >= 0 && filler < highest; filler = dup(highest)) {
    fillers_.push_back(filler);
  }
  if (filler >= 0) close(filler);
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
  rlimit low{highest + 1 + left, before_.rlim_max};
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
}

FewDescriptors::~FewDescriptors() {
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0);
  for (int filler : fillers_) close(filler);
}

TempDir::TempDir() {
  path_ = (fs::temp_directory_path() / "treekill-test-XXXXXX").string();
  EXPECT_NE(mkdtemp(path_.data()), nullptr);
}

TempDir::~TempDir() {
  std::error_code error;
  fs::remove_all(path_, error);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteAll(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  EXPECT_TRUE(file.flush().good()) << path;
}

bool Eventually(const std::function<bool()>& done, absl::Duration patience) {
  absl::Duration end = kernel::MonotonicNow() + patience;
  while (!done()) {
    if (kernel::MonotonicNow() > end) return done();
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

int Outcome::exit_code() const {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
}

int Outcome::signal() const {
  return WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
}

Program::Program(std::vector<std::string> argv,
                 std::map<std::string, std::string> extra,
                 std::function<void()> prepare) {
  std::map<std::string, std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string text = *variable;
    size_t equals = text.find('=');
    environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : extra) environment[name] = value;
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) {
    variables.push_back(absl::StrCat(name, "=", value));
  }
  std::vector<char*> argument_pointers;
  for (std::string& argument : argv)
    argument_pointers.push_back(argument.data());
  argument_pointers.push_back(nullptr);
  std::vector<char*> variable_pointers;
  for (std::string& variable : variables) {
    variable_pointers.push_back(variable.data());
  }
  variable_pointers.push_back(nullptr);
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  int output = open(directory_.File("output").c_str(), kFlags, 0600);
  int errors = open(directory_.File("errors").c_str(), kFlags, 0600);
  started_ = kernel::MonotonicNow();
  pid_ = fork();
  if (pid_ == 0) {
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    if (prepare != nullptr) prepare();
    execvpe(argument_pointers[0], argument_pointers.data(),
            variable_pointers.data());
    _exit(99);
  }
  for (int fd : {null, output, errors}) close(fd);
}

Program::~Program() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Program::Signal(int signal) { kill(pid_, signal); }

Outcome Program::Wait(absl::Duration patience) {
  Outcome outcome;
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  pollfd ended{pidfd, POLLIN, 0};
  if (poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) !=
      1) {
    ADD_FAILURE() << "still running after " << absl::FormatDuration(patience);
    kill(pid_, SIGKILL);
  }
  close(pidfd);
  waitpid(pid_, &outcome.wait_status, 0);
  pid_ = -1;
  outcome.duration = kernel::MonotonicNow() - started_;
  outcome.output = ReadAll(directory_.File("output"));
  outcome.errors = ReadAll(directory_.File("errors"));
  return outcome;
}

Outcome RunProgram(std::vector<std::string> argv,
                   std::map<std::string, std::string> extra,
                   std::function<void()> prepare) {
  return Program(std::move(argv), std::move(extra), std::move(prepare)).Wait();
}

Outcome RunTreekill(std::vector<std::string> arguments,
                    std::map<std::string, std::string> extra) {
  arguments.insert(arguments.begin(), {TreekillPath(), "run"});
  return RunProgram(std::move(arguments), std::move(extra));
}

}  // namespace treekill::rig
