// treekill, in which the calls into the kernel that the environment names fail,
// and time passes as it says.
//
//   TREEKILL_FAULTS="mkdir:EACCES write@cgroup.kill:EPERM:1
//   clone3@cgroup:EAGAIN"
//
// Each word is CALL[@PATH]:ERRNO[:TIMES[:AFTER]]; without TIMES, or with -1,
// always; with AFTER, when that many calls have been let through.
//
//   TREEKILL_LEAP=FILE
//
// When there is FILE, the clock leaps ahead by an hour: see leaping_clock.h.
//
//   TREEKILL_LIMITS="systemd:200ms guardian:1s"
//
// The program's own time limits of these names, see kernel/time_limit.h.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "cli/main.h"
#include "tests/rig/leaping_clock.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"

namespace {

struct Fault {
  std::string call;
  std::string path;
  int error = 0;
  int times = -1;
  int after = 0;
};

std::vector<Fault>& Plan() {
  static auto* plan = new std::vector<Fault>();
  return *plan;
}

int ErrnoByName(const std::string& name) {
  for (int error = 1; error < 134; ++error) {
    const char* known = strerrorname_np(error);
    if (known != nullptr && name == known) return error;
  }
  abort();
}

int Inject(const char* call, const char* path) {
  for (Fault& fault : Plan()) {
    if (fault.call != call || fault.times == 0) continue;
    if (!fault.path.empty() && fault.path != path) continue;
    if (fault.after > 0) {
      --fault.after;
      continue;
    }
    if (fault.times > 0) --fault.times;
    return fault.error;
  }
  return 0;
}

std::map<std::string, absl::Duration>& Limits() {
  static auto* limits = new std::map<std::string, absl::Duration>();
  return *limits;
}

absl::Duration LimitByPlan(const char* name, absl::Duration usual) {
  auto found = Limits().find(name);
  return found == Limits().end() ? usual : found->second;
}

void ReadLimits(const char* text) {
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    std::vector<std::string> parts = absl::StrSplit(word, ':');
    absl::Duration limit;
    if (!absl::ParseDuration(parts.at(1), &limit)) abort();
    Limits()[parts[0]] = limit;
  }
}

void ReadPlan(const char* text) {
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    std::vector<std::string> parts = absl::StrSplit(word, ':');
    std::vector<std::string> target = absl::StrSplit(parts[0], '@');
    Fault fault;
    fault.call = target[0];
    if (target.size() > 1) fault.path = target[1];
    fault.error = ErrnoByName(parts.at(1));
    if (parts.size() > 2 && !absl::SimpleAtoi(parts[2], &fault.times)) abort();
    if (parts.size() > 3 && !absl::SimpleAtoi(parts[3], &fault.after)) abort();
    Plan().push_back(fault);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* text = getenv("TREEKILL_FAULTS");
  if (text != nullptr) ReadPlan(text);
  treekill::kernel::SetFaultHookForTesting(Inject);
  const char* limits = getenv("TREEKILL_LIMITS");
  if (limits != nullptr) ReadLimits(limits);
  treekill::kernel::SetTimeLimitHookForTesting(LimitByPlan);
  const char* leap = getenv("TREEKILL_LEAP");
  if (leap != nullptr) treekill::rig::LeapWhenThereIs(leap);
  return treekill::cli::Main(argc, argv);
}
