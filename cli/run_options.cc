#include "cli/run_options.h"

#include <getopt.h>

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/duration.h"
#include "cli/options.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

enum Option {
  kTimeout = 256,
  kKillMode,
  kPreserveStatus,
  kContainment,
  kRequire,
  kName,
  kReport,
  kGuardian,
  kJournal,
  kDieWithParent,
  kLifeline,
  kUnit,
  kSlice,
  kDescription,
  kUser,
  kSystem,
  kCollect,
  kNoNewPrivileges,
  kTimeoutSignalFirst,
  kDumpOnTimeout,
  kOnLeak,
  kKeep,
};

constexpr option kOptions[] = {
    {"timeout", required_argument, nullptr, kTimeout},
    {"kill-after", required_argument, nullptr, 'k'},
    {"signal", required_argument, nullptr, 's'},
    {"timeout-signal-first", required_argument, nullptr, kTimeoutSignalFirst},
    {"dump-on-timeout", optional_argument, nullptr, kDumpOnTimeout},
    {"kill-mode", required_argument, nullptr, kKillMode},
    {"preserve-status", no_argument, nullptr, kPreserveStatus},
    {"containment", required_argument, nullptr, kContainment},
    {"require", required_argument, nullptr, kRequire},
    {"name", required_argument, nullptr, kName},
    {"chdir", required_argument, nullptr, 'C'},
    {"report", required_argument, nullptr, kReport},
    {"guardian", required_argument, nullptr, kGuardian},
    {"journal", optional_argument, nullptr, kJournal},
    {"die-with-parent", optional_argument, nullptr, kDieWithParent},
    {"lifeline", required_argument, nullptr, kLifeline},
    {"unit", required_argument, nullptr, kUnit},
    {"slice", required_argument, nullptr, kSlice},
    {"description", required_argument, nullptr, kDescription},
    {"property", required_argument, nullptr, 'p'},
    {"user", no_argument, nullptr, kUser},
    {"system", no_argument, nullptr, kSystem},
    {"collect", no_argument, nullptr, kCollect},
    {"no-new-privs", no_argument, nullptr, kNoNewPrivileges},
    {"on-leak", required_argument, nullptr, kOnLeak},
    {"keep", required_argument, nullptr, kKeep},
    {"verbose", no_argument, nullptr, 'v'},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0}};

std::optional<GuardianChoice> ParseGuardianChoice(const std::string& text) {
  if (text == "yes") return GuardianChoice::kYes;
  if (text == "try") return GuardianChoice::kTry;
  if (text == "no") return GuardianChoice::kNo;
  return std::nullopt;
}

std::optional<JournalChoice> ParseJournalChoice(const std::string& text) {
  if (text.empty() || text == "yes") return JournalChoice::kYes;
  if (text == "no") return JournalChoice::kNo;
  if (text == "auto") return JournalChoice::kAuto;
  return std::nullopt;
}

std::optional<LeakChoice> ParseLeakChoice(const std::string& text) {
  if (text == "kill") return LeakChoice::kKill;
  if (text == "warn") return LeakChoice::kWarn;
  if (text == "fail") return LeakChoice::kFail;
  if (text == "wait") return LeakChoice::kWait;
  if (text == "keep") return LeakChoice::kKeep;
  return std::nullopt;
}

// "wait=DUR" has a duration of its own.
absl::Status StoreLeakChoice(const std::string& text, RunCommandLine* line) {
  constexpr char kWaitFor[] = "wait=";
  if (!absl::StartsWith(text, kWaitFor)) {
    return StoreOption(ParseLeakChoice(text), "--on-leak", text,
                       "kill, warn, fail, wait, wait=DUR or keep",
                       &line->on_leak);
  }
  line->on_leak = LeakChoice::kWait;
  std::string duration = text.substr(sizeof(kWaitFor) - 1);
  absl::Status stored = StoreOption(ParseDuration(duration), "--on-leak=wait",
                                    duration, kTakesDuration, &line->leak_wait);
  // Not at all is what kill does.
  if (line->leak_wait == absl::ZeroDuration()) {
    line->on_leak = LeakChoice::kKill;
  }
  return stored;
}

// A whole number of at least `least`.
std::optional<int> ParseNumber(const std::string& text, int least) {
  int number = 0;
  bool digits = !text.empty() &&
                text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || !absl::SimpleAtoi(text, &number) || number < least) {
    return std::nullopt;
  }
  return number;
}

// Says that a scope is wanted, and where from.
absl::Status ApplyToScope(int option, const std::string& value,
                          ScopeOptions* scope) {
  switch (option) {
    case kUnit:
    case kSlice:
      if (value.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat("invalid --", option == kUnit ? "unit" : "slice",
                         " '': it takes a unit's name"));
      }
      (option == kUnit ? scope->unit : scope->slice) = value;
      break;
    case kDescription:
      scope->description = value;
      break;
    case 'p':
      scope->properties.push_back(value);
      break;
    case kUser:
      scope->manager = SystemdManager::kUser;
      break;
    case kSystem:
      scope->manager = SystemdManager::kSystem;
      break;
    default:
      // --collect: every scope is, as no failed one is of any use.
      break;
  }
  return absl::OkStatus();
}

// What holds as a scope does not is not what these options are for.
absl::Status RequireScope(RunCommandLine* line) {
  if (line->containment == Containment::kAuto) {
    line->containment = Containment::kScope;
  }
  if (line->containment == Containment::kScope) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--unit, --slice, --description, --property, --user, --system and "
      "--collect are for a scope, and --containment=",
      ContainmentName(line->containment), " makes none"));
}

absl::Status Apply(int option, const std::string& value, RunCommandLine* line) {
  constexpr char kContainments[] =
      "auto, cgroup, scope, subreaper, process-group or process";
  switch (option) {
    case kTimeout:
      return StoreOption(ParseDuration(value), "--timeout", value,
                         kTakesDuration, &line->timeout);
    case 'k':
      return StoreOption(ParseDuration(value), "--kill-after", value,
                         kTakesDuration, &line->kill_after);
    case 's':
      return StoreOption(ParseSignal(value), "--signal", value, kTakesSignal,
                         &line->signal);
    case kTimeoutSignalFirst:
      return StoreOption(ParseSignal(value), "--timeout-signal-first", value,
                         kTakesSignal, &line->timeout_signal_first);
    case kDumpOnTimeout:
      line->dump = value.empty() ? kDumpToErrors : value;
      return absl::OkStatus();
    case kKillMode:
      return StoreOption(ParseKillMode(value), "--kill-mode", value,
                         "control-group, mixed, process-group or process",
                         &line->kill_mode);
    case kContainment:
      return StoreOption(ParseContainment(value), "--containment", value,
                         kContainments, &line->containment);
    case kRequire:
      return StoreOption(ParseContainment(value), "--require", value,
                         kContainments, &line->require);
    case kPreserveStatus:
      line->preserve_status = true;
      return absl::OkStatus();
    case kNoNewPrivileges:
      line->no_new_privileges = true;
      return absl::OkStatus();
    case kOnLeak:
      return StoreLeakChoice(value, line);
    case kKeep:
      if (value.empty()) {
        return absl::InvalidArgumentError(
            "invalid --keep '': it takes the name of a process, or a pattern "
            "such as '*-agent'");
      }
      line->keep.push_back(value);
      return absl::OkStatus();
    case kName:
      line->name = value;
      return absl::OkStatus();
    case 'C':
      line->directory = value;
      return absl::OkStatus();
    case kReport:
      if (value.empty()) {
        return absl::InvalidArgumentError(
            "invalid --report '': it takes a file or fd:N");
      }
      line->report = value;
      return absl::OkStatus();
    case kGuardian:
      return StoreOption(ParseGuardianChoice(value), "--guardian", value,
                         "yes, try or no", &line->guardian);
    case kJournal:
      return StoreOption(ParseJournalChoice(value), "--journal", value,
                         "yes, no, auto, or nothing", &line->journal);
    case kDieWithParent:
      line->die_with_parent = true;
      // Without "=PID" there is no value.
      if (value.empty()) return absl::OkStatus();
      return StoreOption(ParseNumber(value, /*least=*/1), "--die-with-parent",
                         value, "the parent's pid, or nothing", &line->parent);
    case kLifeline:
      return StoreOption(ParseNumber(value, /*least=*/0), "--lifeline", value,
                         "the number of a descriptor", &line->lifeline);
    case kUnit:
    case kSlice:
    case kDescription:
    case 'p':
    case kUser:
    case kSystem:
    case kCollect:
      line->wants_scope = true;
      return ApplyToScope(option, value, &line->scope);
    case 'v':
      line->verbose = true;
      return absl::OkStatus();
    default:
      line->help = true;
      return absl::OkStatus();
  }
}

}  // namespace

const char kRunHelp[] =
    "Usage: treekill run [OPTION]... [--] COMMAND [ARG]...\n"
    "\n"
    "Runs COMMAND in a cgroup of its own. When treekill returns, nothing that\n"
    "COMMAND has started is alive.\n"
    "\n"
    "      --timeout=DUR          end it after DUR (0 and inf: never)\n"
    "  -k, --kill-after=DUR       the grace between the first signal and\n"
    "                             SIGKILL (default 5s); ends early when\n"
    "                             everything is gone; inf waits\n"
    "  -s, --signal=SIG           the first signal at the timeout (TERM)\n"
    "      --timeout-signal-first=SIG\n"
    "                             at the timeout send everyone SIG before "
    "that\n"
    "                             and wait as for -k: many programs say what\n"
    "                             they are doing on QUIT or ABRT\n"
    "      --dump-on-timeout[=FILE|fd:N]\n"
    "                             at the timeout first write down what every\n"
    "                             process is waiting for (standard error)\n"
    "      --kill-mode=MODE       who gets the first signal: control-group\n"
    "                             (everyone, the default), mixed or process\n"
    "                             (the leader), process-group (the leader's).\n"
    "                             SIGKILL goes to everyone in any case\n"
    "      --preserve-status      exit with COMMAND's status even when it\n"
    "                             timed out\n"
    "      --on-leak=WHAT         what becomes of processes that outlive\n"
    "                             COMMAND when it ends by itself: kill (the\n"
    "                             default), warn (kill, and say who and how\n"
    "                             they got away), fail (the same, and exit\n"
    "                             with 123 if COMMAND has succeeded),\n"
    "                             wait[=DUR] (give them DUR to end by\n"
    "                             themselves), keep (let them live; 'treekill\n"
    "                             ps' lists and 'treekill kill' ends them)\n"
    "      --keep=PATTERN         a daemon that is wanted, such as ssh-agent:\n"
    "                             it and what it has started are kept\n"
    "      --containment=KIND     what holds the processes: auto (the first "
    "of\n"
    "                             the next three that can be had), cgroup,\n"
    "                             scope (a cgroup that systemd makes),\n"
    "                             subreaper (a process that all orphans come\n"
    "                             back to), process-group or process; the\n"
    "                             last two lose those that leave\n"
    "      --require=KIND         do not start on less than KIND\n"
    "      --no-new-privs         setuid programs get no rights by that, so\n"
    "                             that a subreaper can end them, too\n"
    "      --unit=NAME            the scope's name\n"
    "      --slice=NAME           the slice that it is in\n"
    "      --description=TEXT     what systemctl shows for it\n"
    "  -p, --property=NAME=VALUE  a property of it, such as MemoryMax=1G\n"
    "      --user, --system       whose systemd makes it (default: the "
    "user's\n"
    "                             for users, the system's for root)\n"
    "      --collect              as for systemd-run; it always is\n"
    "      --die-with-parent[=PID]\n"
    "                             end it when the process that has started\n"
    "                             treekill dies; PID is that process, if it\n"
    "                             may be dead before treekill has looked\n"
    "      --lifeline=FD          end it when the other end of the pipe or\n"
    "                             socket FD is closed\n"
    "      --guardian=yes|try|no  the process that ends COMMAND and all it "
    "has\n"
    "                             started if treekill itself is killed: yes\n"
    "                             (the default) exits with 125 when it cannot\n"
    "                             be had; with no, COMMAND alone is killed\n"
    "      --journal[=yes|no|auto]\n"
    "                             write its start, its end and what outlives\n"
    "                             COMMAND to systemd's journal (default: "
    "auto,\n"
    "                             if it is in a scope)\n"
    "      --name=NAME            a name for the cgroup\n"
    "  -C, --chdir=DIR            start COMMAND in DIR\n"
    "      --report=FILE|fd:N     write what happened there, in JSON\n"
    "  -v, --verbose              say what is done on standard error\n"
    "  -h, --help                 this text\n"
    "\n"
    "DUR is as in timeout(1) and systemd.time(7): 1.5, 10s, 2m, 500ms,\n"
    "1min 30s. Exit status: COMMAND's own; 128+N when signal N ended it, 124\n"
    "when it timed out (137 when SIGKILL had to end COMMAND itself), 125 when\n"
    "treekill itself failed, 126 when COMMAND cannot be executed, 127 when it\n"
    "is not found, 122 when something of it survives SIGKILL, 123 when\n"
    "something has outlived it under --on-leak=fail.\n";

absl::StatusOr<RunCommandLine> ParseRunCommandLine(int argc, char** argv) {
  RunCommandLine line;
  OptionReader reader(argc, argv, "run", "+:k:s:C:p:vh", kOptions);
  while (reader.Next()) {
    absl::Status applied = Apply(reader.option(), reader.value(), &line);
    if (!applied.ok()) return applied;
  }
  if (!reader.status().ok()) return reader.status();
  if (line.help) return line;
  if (line.wants_scope) {
    absl::Status scope = RequireScope(&line);
    if (!scope.ok()) return scope;
  }
  line.command = reader.rest();
  if (line.command.empty()) {
    return absl::InvalidArgumentError(
        "no command is given; usage: treekill run [OPTION]... [--] COMMAND "
        "[ARG]...");
  }
  // As for timeout(1).
  if (line.timeout == absl::ZeroDuration()) {
    line.timeout = absl::InfiniteDuration();
  }
  return line;
}

}  // namespace treekill::cli
