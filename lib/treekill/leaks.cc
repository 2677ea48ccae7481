#include "treekill/leaks.h"

#include <fnmatch.h>

namespace treekill {

bool Keeps(const LeakPolicy& policy) {
  return policy.on_leak == OnLeak::kKeep || !policy.keep.empty();
}

bool MatchesPattern(const Member& member, const std::string& pattern) {
  if (fnmatch(pattern.c_str(), member.name.c_str(), 0) == 0) return true;
  if (member.argv.empty()) return false;
  // A daemon may write more than its name there: "ssh-agent: for tester".
  std::string program = member.argv[0].substr(0, member.argv[0].find(' '));
  std::string file = program.substr(program.rfind('/') + 1);
  return fnmatch(pattern.c_str(), file.c_str(), 0) == 0;
}

absl::Status Validate(const LeakPolicy& policy) {
  if (policy.wait <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the time to wait must be more than 0");
  }
  for (const std::string& pattern : policy.keep) {
    if (!pattern.empty()) continue;
    return absl::InvalidArgumentError(
        "an empty pattern means no process that could be kept");
  }
  return absl::OkStatus();
}

}  // namespace treekill
