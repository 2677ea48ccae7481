#include "tests/benchmark/launch.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace treekill::bench {
namespace {

namespace fs = std::filesystem;

// The name itself when it is not found: posix_spawn then says why.
std::string FindInPath(const std::string& name) {
  const char* path = getenv("PATH");
  if (path == nullptr || name.find('/') != std::string::npos) return name;
  for (absl::string_view folder : absl::StrSplit(path, ':')) {
    std::string candidate = absl::StrCat(folder, "/", name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return name;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Launch::Launch(std::vector<std::string> argv, Streams streams,
               std::map<std::string, std::string> extra)
    : argv_(std::move(argv)), path_(FindInPath(argv_[0])) {
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables_.push_back(*variable);
  }
  for (const auto& [name, value] : extra) {
    variables_.push_back(absl::StrCat(name, "=", value));
  }
  argv_pointers_ = Pointers(argv_);
  variable_pointers_ = Pointers(variables_);
  posix_spawn_file_actions_init(&actions_);
  if (streams == Streams::kInherit) return;
  posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null",
                                   O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null",
                                   O_WRONLY, 0);
}

Launch::~Launch() { posix_spawn_file_actions_destroy(&actions_); }

absl::StatusOr<pid_t> Launch::Start() const {
  pid_t pid = 0;
  int error = posix_spawn(&pid, path_.c_str(), &actions_, nullptr,
                          argv_pointers_.data(), variable_pointers_.data());
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("posix_spawn of ", path_));
  }
  return pid;
}

absl::Status Launch::Finish(pid_t pid) const {
  int wait_status = 0;
  if (waitpid(pid, &wait_status, 0) < 0) {
    return absl::ErrnoToStatus(errno, "waitpid");
  }
  return Judge(wait_status);
}

absl::Status Launch::Run() const {
  absl::StatusOr<pid_t> pid = Start();
  return pid.ok() ? Finish(*pid) : pid.status();
}

// Not by posix_spawn: the new program would be charged with the peak of the
// memory that it shared with this one until its exec. A fork shares none, and
// copies but what is anonymous.
absl::StatusOr<double> Launch::PeakRss() const {
  pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork");
  if (pid == 0) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    execve(path_.c_str(), argv_pointers_.data(), variable_pointers_.data());
    _exit(127);
  }
  int wait_status = 0;
  rusage usage = {};
  if (wait4(pid, &wait_status, 0, &usage) < 0) {
    return absl::ErrnoToStatus(errno, "wait4");
  }
  absl::Status ended = Judge(wait_status);
  if (!ended.ok()) return ended;
  return static_cast<double>(usage.ru_maxrss);
}

absl::Status Launch::Judge(int wait_status) const {
  if (wait_status == 0) return absl::OkStatus();
  std::string how = WIFSIGNALED(wait_status)
                        ? absl::StrCat("signal ", WTERMSIG(wait_status))
                        : absl::StrCat("exit ", WEXITSTATUS(wait_status));
  return absl::UnknownError(
      absl::StrCat(absl::StrJoin(argv_, " "), " ended by ", how));
}

absl::StatusOr<double> ContextSwitches(pid_t pid) {
  double switches = 0;
  int lines = 0;
  std::error_code error;
  fs::directory_iterator tasks(absl::StrCat("/proc/", pid, "/task"), error);
  for (; !error && tasks != fs::end(tasks); tasks.increment(error)) {
    std::ifstream status(tasks->path() / "status");
    std::string line;
    while (std::getline(status, line)) {
      // voluntary_ctxt_switches and nonvoluntary_ctxt_switches.
      std::pair<std::string, std::string> field = absl::StrSplit(line, ':');
      if (!field.first.ends_with("voluntary_ctxt_switches")) continue;
      double count = 0;
      if (absl::SimpleAtod(field.second, &count)) ++lines;
      switches += count;
    }
  }
  if (error || lines == 0) {
    return absl::NotFoundError(absl::StrCat("no /proc/", pid, "/task"));
  }
  return switches;
}

}  // namespace treekill::bench
