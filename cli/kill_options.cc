#include "cli/kill_options.h"

#include <getopt.h>

#include <csignal>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/duration.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/run_names.h"

namespace treekill::cli {
namespace {

constexpr char kUsage[] =
    "Usage: treekill kill [OPTION]... NAME...\n"
    "       treekill kill --pid=N|--pgid=N|--cgroup=PATH|--unit=NAME "
    "[OPTION]...\n"
    "\n"
    "Ends the runs of these names; or processes that others have started.\n"
    "Returns when nothing of them is alive.\n"
    "\n";
constexpr char kTargetHelp[] =
    "\n"
    "      --pid=N                the process and its descendants. Those "
    "whose\n"
    "                             parent had ended before are nobody's to\n"
    "                             --pid: for them there is --cgroup\n"
    "      --pgid=N               the members of a process group\n"
    "      --cgroup=PATH          everybody in a cgroup v2 and below it; PATH\n"
    "                             is its directory, or as in "
    "/proc/PID/cgroup.\n"
    "                             The cgroup itself stays\n";
constexpr char kMoreHelp[] =
    "  -s, --signal=SIG           the first signal (TERM); KILL: at once\n"
    "  -9                         the same as -s KILL\n"
    "  -k, --kill-after=DUR       the grace between that and SIGKILL (default\n"
    "                             5s); ends early when everything is gone\n"
    "      --dry-run              print who would get the signal, and touch\n"
    "                             nobody\n"
    "  -v, --verbose              say what was done on standard error\n"
    "  -h, --help                 this text\n"
    "\n"
    "What systemd runs to stop a unit (ExecStopPost=) has the time of\n"
    "--kill-after, too.\n"
    "\n"
    "It refuses what would end treekill itself or everything: process 1,\n"
    "treekill's ancestors, a process group or cgroup that it is in, "
    "init.scope,\n"
    "-.slice. Exit status: 0 when nothing is alive; 1 when there was nobody,\n"
    "or no run of one of the names; 122 when something survives SIGKILL, is\n"
    "another user's beside those that were ended, or systemd starts the unit\n"
    "again (Restart=); 125 when treekill itself failed, or was not allowed to\n"
    "and has touched nobody.\n";

enum Option { kPid = 256, kPgid, kCgroup, kDryRun };

constexpr char kTakesPid[] = "a number, 1 or more";

std::optional<pid_t> ParsePid(const std::string& text) {
  pid_t pid = 0;
  bool is_number = text.find_first_not_of("0123456789") == std::string::npos &&
                   absl::SimpleAtoi(text, &pid);
  if (!is_number || pid < 1) return std::nullopt;
  return pid;
}

class Parser final {
 public:
  absl::Status Apply(const OptionReader& reader) {
    const std::string value = reader.value();
    if (TakeUnitOption(reader, &line_.unit)) return absl::OkStatus();
    switch (reader.option()) {
      case kPid:
        Name(KillTarget::kTree);
        return StoreOption(ParsePid(value), "--pid", value, kTakesPid,
                           &line_.pid);
      case kPgid:
        Name(KillTarget::kGroup);
        return StoreOption(ParsePid(value), "--pgid", value, kTakesPid,
                           &line_.group);
      case kCgroup:
        Name(KillTarget::kCgroup);
        line_.cgroup = value;
        return absl::OkStatus();
      case 's':
        return StoreOption(ParseSignal(value), "--signal", value, kTakesSignal,
                           &line_.options.signal);
      case '9':
        line_.options.signal = SIGKILL;
        return absl::OkStatus();
      case 'k':
        return StoreOption(ParseDuration(value), "--kill-after", value,
                           kTakesDuration, &line_.options.grace);
      default:
        ApplyFlag(reader.option());
        return absl::OkStatus();
    }
  }

  absl::StatusOr<KillCommandLine> Finish(
      const std::vector<std::string>& words) {
    if (line_.help) return line_;
    if (!line_.unit.name.empty()) Name(KillTarget::kUnit);
    if (!words.empty()) Name(KillTarget::kRuns);
    line_.names = words;
    if (named_ > 1) {
      return absl::InvalidArgumentError(
          "only one of --pid, --pgid, --cgroup, --unit and the names of runs "
          "may be given, and once");
    }
    bool has_manager = line_.unit.manager != SystemdManager::kAuto;
    if (named_ == 1 && has_manager && line_.target != KillTarget::kUnit) {
      return absl::InvalidArgumentError(
          "--user and --system say whose systemd runs a --unit, and go with no "
          "other target");
    }
    bool is_empty = line_.target == KillTarget::kCgroup && line_.cgroup.empty();
    if (named_ == 0 || is_empty) {
      return absl::InvalidArgumentError(
          "nothing is named; usage: treekill kill NAME... (or --pid=N, "
          "--pgid=N, --cgroup=PATH, --unit=NAME); 'treekill ps' lists what "
          "there is");
    }
    return line_;
  }

 private:
  void Name(KillTarget target) {
    line_.target = target;
    ++named_;
  }

  void ApplyFlag(int flag) {
    if (flag == 'v') line_.verbose = true;
    if (flag == 'h') line_.help = true;
    if (flag == kDryRun) line_.dry_run = true;
  }

  KillCommandLine line_;
  int named_ = 0;
};

}  // namespace

absl::StatusOr<KillCommandLine> ParseKillCommandLine(int argc, char** argv) {
  const std::vector<option> options =
      WithUnitOptions({{"pid", required_argument, nullptr, kPid},
                       {"pgid", required_argument, nullptr, kPgid},
                       {"cgroup", required_argument, nullptr, kCgroup},
                       {"signal", required_argument, nullptr, 's'},
                       {"kill-after", required_argument, nullptr, 'k'},
                       {"dry-run", no_argument, nullptr, kDryRun},
                       {"verbose", no_argument, nullptr, 'v'}});
  OptionReader reader(argc, argv, "kill", ":s:k:9vh", options.data());
  Parser parser;
  while (reader.Next()) {
    absl::Status applied = parser.Apply(reader);
    if (!applied.ok()) return applied;
  }
  if (!reader.status().ok()) return reader.status();
  return parser.Finish(reader.rest());
}

std::string KillHelp() {
  return absl::StrCat(kUsage, kNameHelp, kTargetHelp, kUnitHelp, kMoreHelp);
}

}  // namespace treekill::cli
