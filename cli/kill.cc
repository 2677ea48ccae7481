#include "cli/kill.h"

#include <getopt.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/duration.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/unit_options.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kKillHelp[] =
    "Usage: treekill kill --unit=NAME [OPTION]...\n"
    "\n"
    "Ends every process of a unit of systemd's, nested cgroups included, and\n"
    "returns when nothing of it is alive. What systemd runs to stop it\n"
    "(ExecStopPost=) has the time of --kill-after.\n"
    "\n";
constexpr char kMoreHelp[] =
    "  -s, --signal=SIG           the first signal (TERM); KILL: at once\n"
    "  -k, --kill-after=DUR       the grace between that and SIGKILL (default\n"
    "                             5s); ends early when everything is gone\n"
    "  -v, --verbose              say what was done on standard error\n"
    "  -h, --help                 this text\n"
    "\n"
    "It refuses what would end treekill itself, or everything: init.scope,\n"
    "-.slice, its own unit and those above. Exit status: 0 when nothing is\n"
    "alive, 122 when something survives SIGKILL or systemd starts the unit\n"
    "again (Restart=), 125 when treekill itself failed.\n";

struct KillCommandLine {
  bool help = false;
  bool verbose = false;
  UnitChoice unit;
  EndOptions options;
};

absl::Status Apply(const OptionReader& reader, KillCommandLine* line) {
  if (TakeUnitOption(reader, &line->unit)) return absl::OkStatus();
  switch (reader.option()) {
    case 's':
      return StoreOption(ParseSignal(reader.value()), "--signal",
                         reader.value(), kTakesSignal, &line->options.signal);
    case 'k':
      return StoreOption(ParseDuration(reader.value()), "--kill-after",
                         reader.value(), kTakesDuration, &line->options.grace);
    case 'v':
      line->verbose = true;
      return absl::OkStatus();
    default:
      line->help = true;
      return absl::OkStatus();
  }
}

absl::StatusOr<KillCommandLine> ParseKillCommandLine(int argc, char** argv) {
  KillCommandLine line;
  const std::vector<option> options =
      WithUnitOptions({{"signal", required_argument, nullptr, 's'},
                       {"kill-after", required_argument, nullptr, 'k'},
                       {"verbose", no_argument, nullptr, 'v'}});
  OptionReader reader(argc, argv, "kill", "+:s:k:vh", options.data());
  while (reader.Next()) {
    absl::Status applied = Apply(reader, &line);
    if (!applied.ok()) return applied;
  }
  if (!reader.status().ok()) return reader.status();
  if (line.help) return line;
  absl::Status checked = CheckUnitChoice(reader, "kill", line.unit);
  if (!checked.ok()) return checked;
  return line;
}

void SayWhatWasDone(const Unit& unit, const UnitEnd& end) {
  if (!end.had_processes) {
    Message(absl::StrCat(unit.name(), " is ", unit.active_state(),
                         ", and has no processes"));
    return;
  }
  Message(absl::StrCat("nothing of ", unit.name(), " is alive",
                       end.killed ? "; SIGKILL was needed" : "",
                       end.by_manager ? "; by way of systemd, as its cgroup is "
                                        "not ours to write to"
                                      : ""));
}

int Report(const Unit& unit, const UnitEnd& end, bool verbose) {
  if (!end.drained) {
    Message(absl::StrCat(unit.name(), " is not gone: ", end.error.message()));
    if (end.survivors.empty()) return kOwnFailure;
    Message(absl::StrCat("alive: ", Names(end.survivors)));
    return kSurvivors;
  }
  if (verbose) SayWhatWasDone(unit, end);
  if (end.started_again) {
    Message(absl::StrCat("systemd starts ", unit.name(),
                         " again (its Restart= says so); to end it for good: "
                         "systemctl stop ",
                         unit.name()));
    return kSurvivors;
  }
  return 0;
}

}  // namespace

int KillMain(int argc, char** argv) {
  absl::StatusOr<KillCommandLine> line = ParseKillCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) {
    return PrintToStdout(absl::StrCat(kKillHelp, kUnitHelp, kMoreHelp));
  }
  absl::StatusOr<Unit> unit = Unit::Find(line->unit.name, line->unit.manager);
  if (!unit.ok()) return Fail(unit.status());
  absl::StatusOr<UnitEnd> end = unit->End(line->options);
  if (!end.ok()) return Fail(end.status());
  return Report(*unit, *end, line->verbose);
}

}  // namespace treekill::cli
