#include "treekill/command.h"

#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/signals.h"

namespace treekill {
namespace {

bool HasNul(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

absl::Status ValidateDescriptors(const Command& command) {
  for (const Stream& stream :
       {command.stdin_, command.stdout_, command.stderr_}) {
    if (!stream.inherits() && !stream.is_null() && stream.fd() < 0) {
      return absl::InvalidArgumentError(
          "a standard stream is given by a descriptor that is not open");
    }
  }
  std::set<int> numbers;
  for (const ExtraFd& extra : command.extra_fds) {
    if (extra.fd < 0 || extra.number <= STDERR_FILENO) {
      return absl::InvalidArgumentError(absl::StrCat(
          "an extra descriptor must go from an open one to a number above 2, "
          "not from ",
          extra.fd, " to ", extra.number));
    }
    if (!numbers.insert(extra.number).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("descriptor ", extra.number, " is given twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const Command& command) {
  if (command.argv.empty()) {
    return absl::InvalidArgumentError("no command is given");
  }
  if (command.argv[0].empty()) {
    return absl::InvalidArgumentError("the command is an empty string");
  }
  for (const std::string& argument : command.argv) {
    if (HasNul(argument)) {
      return absl::InvalidArgumentError("an argument holds a NUL byte");
    }
  }
  if (command.environment.has_value()) {
    for (const std::string& variable : *command.environment) {
      if (HasNul(variable)) {
        return absl::InvalidArgumentError(
            "an environment variable holds a NUL byte");
      }
    }
  }
  if (HasNul(command.working_directory)) {
    return absl::InvalidArgumentError(
        "the working directory's name holds a NUL byte");
  }
  for (int signal : command.keep_ignored) {
    if (signal < 1 || signal > kernel::kLastSignal) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no signal ", signal, " to keep ignored"));
    }
  }
  return ValidateDescriptors(command);
}

}  // namespace treekill
