#include "treekill/spawn_plan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "treekill/kernel/error.h"

namespace treekill {
namespace {

// What execvp(3) searches without PATH.
constexpr char kDefaultPath[] = "/bin:/usr/bin";

// By which systemd tells a process that what it has set up is for this process
// and not for its children: sd_listen_fds(3), sd_watchdog_enabled(3) and
// systemd.exec(5).
constexpr absl::string_view kListenPid = "LISTEN_PID=";
constexpr absl::string_view kOwnPidVariables[] = {
    kListenPid, "WATCHDOG_PID=", "SYSTEMD_EXEC_PID="};

const char* StageName(kernel::ChildStage stage) {
  switch (stage) {
    case kernel::ChildStage::kNone:
      break;
    case kernel::ChildStage::kCgroup:
      return "write";
    case kernel::ChildStage::kProcessGroup:
      return "setpgid";
    case kernel::ChildStage::kLimits:
      return "setrlimit";
    case kernel::ChildStage::kDescriptors:
      return "dup3";
    case kernel::ChildStage::kWorkingDirectory:
      return "chdir";
    case kernel::ChildStage::kParentDeath:
      return "prctl";
    case kernel::ChildStage::kPrivileges:
      return "prctl";
    case kernel::ChildStage::kSignals:
      return "sigprocmask";
    case kernel::ChildStage::kExec:
      return "execve";
  }
  return "clone3";
}

}  // namespace

absl::Status SpawnPlan::Prepare(const Command& command,
                                bool new_process_group) {
  plan_.new_process_group = new_process_group;
  if (!command.working_directory.empty()) {
    plan_.working_directory = command.working_directory.c_str();
  }
  for (const ResourceLimit& limit : command.limits) {
    limits_.push_back({limit.resource, limit.soft, limit.hard});
  }
  plan_.limits = limits_.data();
  plan_.limit_count = static_cast<int>(limits_.size());
  for (int signal : command.keep_ignored) {
    plan_.keep_ignored |= kernel::SignalBit(signal);
  }
  plan_.no_new_privileges = command.no_new_privileges;
  PrepareEnvironment(command);
  PrepareArguments(command);
  environment_.push_back(nullptr);
  plan_.envp = environment_.data();
  return PrepareDescriptors(command);
}

void SpawnPlan::SetParentDeathSignal(int signal) {
  plan_.parent_death_signal = signal;
  plan_.parent = getpid();
}

void SpawnPlan::PrepareArguments(const Command& command) {
  shell_argv_ = {kernel::kShell, nullptr};
  for (const std::string& argument : command.argv) {
    if (!argv_.empty()) shell_argv_.push_back(argument.c_str());
    argv_.push_back(argument.c_str());
  }
  argv_.push_back(nullptr);
  shell_argv_.push_back(nullptr);
  plan_.argv = argv_.data();
  plan_.shell_argv = shell_argv_.data();

  const std::string& program = command.argv[0];
  if (absl::StrContains(program, '/')) {
    path_storage_.push_back(program);
  } else {
    absl::string_view search = kDefaultPath;
    for (absl::string_view variable : environment_) {
      if (absl::ConsumePrefix(&variable, "PATH=")) search = variable;
    }
    for (absl::string_view directory : absl::StrSplit(search, ':')) {
      path_storage_.push_back(directory.empty()
                                  ? absl::StrCat("./", program)
                                  : absl::StrCat(directory, "/", program));
    }
  }
  for (const std::string& path : path_storage_) paths_.push_back(path.c_str());
  paths_.push_back(nullptr);
  plan_.paths = paths_.data();
}

void SpawnPlan::PrepareEnvironment(const Command& command) {
  if (command.environment.has_value()) {
    for (const std::string& variable : *command.environment) {
      environment_.push_back(variable.c_str());
    }
    return;
  }
  for (char** variable = environ; variable && *variable; ++variable) {
    environment_.push_back(*variable);
  }
  if (command.inherit_fds) TakeOurPlace();
}

void SpawnPlan::TakeOurPlace() {
  std::string pid = absl::StrCat(getpid());
  bool listens = false;
  for (const char*& variable : environment_) {
    for (absl::string_view name : kOwnPidVariables) {
      absl::string_view value = variable;
      if (!absl::ConsumePrefix(&value, name) || value != pid) continue;
      std::string& own = own_pid_variables_.emplace_back(name);
      own.resize(name.size() + kernel::kPidDigits + 1);
      pid_texts_.push_back(own.data() + name.size());
      variable = own.data();
      listens = listens || name == kListenPid;
    }
  }
  // It says the same of a process as its pid does, and so names us.
  if (listens) {
    environment_.erase(std::remove_if(environment_.begin(), environment_.end(),
                                      [](absl::string_view variable) {
                                        return absl::StartsWith(
                                            variable, "LISTEN_PIDFDID=");
                                      }),
                       environment_.end());
  }
  plan_.pid_texts = pid_texts_.data();
  plan_.pid_text_count = static_cast<int>(pid_texts_.size());
}

absl::Status SpawnPlan::PrepareDescriptors(const Command& command) {
  const Stream* streams[] = {&command.stdin_, &command.stdout_,
                             &command.stderr_};
  for (int number = 0; number <= STDERR_FILENO; ++number) {
    const Stream& stream = *streams[number];
    if (stream.inherits()) continue;
    int from = stream.fd();
    if (stream.is_null()) {
      if (!null_.valid()) {
        absl::StatusOr<kernel::UniqueFd> null =
            kernel::OpenFile(AT_FDCWD, "/dev/null", O_RDWR, "/dev/null");
        if (!null.ok()) return null.status();
        null_ = *std::move(null);
      }
      from = null_.get();
    }
    fds_.push_back({from, number});
  }
  for (const ExtraFd& extra : command.extra_fds) {
    fds_.push_back({extra.fd, extra.number});
  }
  std::sort(fds_.begin(), fds_.end(),
            [](const kernel::FdMove& a, const kernel::FdMove& b) {
              return a.to < b.to;
            });
  plan_.fds = fds_.data();
  plan_.fd_count = static_cast<int>(fds_.size());
  plan_.close_other_fds = !command.inherit_fds;
  return absl::OkStatus();
}

absl::Status SpawnFailure(const kernel::ChildFailure& failure,
                          const Command& command) {
  std::string what = absl::StrCat("cannot run ", command.argv[0]);
  if (failure.stage == kernel::ChildStage::kWorkingDirectory) {
    what = absl::StrCat("cannot start in ", command.working_directory);
  } else if (failure.stage != kernel::ChildStage::kExec) {
    what = absl::StrCat("cannot prepare ", command.argv[0]);
  }
  absl::Status status =
      kernel::ErrnoStatus(failure.error, StageName(failure.stage), what);
  bool script_without_interpreter =
      failure.stage == kernel::ChildStage::kExec && failure.error == ENOENT &&
      absl::StrContains(command.argv[0], '/') &&
      access(command.argv[0].c_str(), F_OK) == 0;
  return kernel::WithHint(status, script_without_interpreter
                                      ? "the file is there; the interpreter "
                                        "that it names is not"
                                      : "");
}

}  // namespace treekill
