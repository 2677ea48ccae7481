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

constexpr char kShell[] = "/bin/sh";
// What execvp(3) searches without PATH.
constexpr char kDefaultPath[] = "/bin:/usr/bin";

const char* StageName(kernel::ChildStage stage) {
  switch (stage) {
    case kernel::ChildStage::kNone:
      break;
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
  PrepareArguments(command);
  return PrepareDescriptors(command);
}

void SpawnPlan::SetParentDeathSignal(int signal) {
  plan_.parent_death_signal = signal;
  plan_.parent = getpid();
}

void SpawnPlan::PrepareArguments(const Command& command) {
  shell_argv_ = {kShell, nullptr};
  for (const std::string& argument : command.argv) {
    if (!argv_.empty()) shell_argv_.push_back(argument.c_str());
    argv_.push_back(argument.c_str());
  }
  argv_.push_back(nullptr);
  shell_argv_.push_back(nullptr);
  plan_.argv = argv_.data();
  plan_.shell_argv = shell_argv_.data();

  if (command.environment.has_value()) {
    for (const std::string& variable : *command.environment) {
      environment_.push_back(variable.c_str());
    }
  } else {
    for (char** variable = environ; variable && *variable; ++variable) {
      environment_.push_back(*variable);
    }
  }

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
  environment_.push_back(nullptr);
  plan_.paths = paths_.data();
  plan_.envp = environment_.data();
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
