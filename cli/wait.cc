#include "cli/wait.h"

#include <getopt.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/duration.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/run_names.h"
#include "cli/unit_options.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kWaitHelp[] =
    "Usage: treekill wait [OPTION]... NAME...\n"
    "       treekill wait --unit=NAME [OPTION]...\n"
    "\n"
    "Waits until no process of the runs of these names is alive; or none of a\n"
    "unit of systemd's, nested cgroups included, and systemd has done with\n"
    "it.\n"
    "\n";
constexpr char kMoreHelp[] =
    "\n"
    "      --timeout=DUR          wait no longer than that (0 and inf: for\n"
    "                             ever)\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0 when nothing is alive; 1 when no run is called NAME, "
    "which\n"
    "may be over already; 124 when the time is over; 125 when treekill itself\n"
    "failed.\n";

enum Option { kTimeout = 256 };

struct WaitCommandLine {
  bool help = false;
  UnitChoice unit;
  std::vector<std::string> names;
  absl::Duration timeout = absl::InfiniteDuration();
};

absl::StatusOr<WaitCommandLine> ParseWaitCommandLine(int argc, char** argv) {
  WaitCommandLine line;
  const std::vector<option> options =
      WithUnitOptions({{"timeout", required_argument, nullptr, kTimeout}});
  OptionReader reader(argc, argv, "wait", ":h", options.data());
  while (reader.Next()) {
    if (TakeUnitOption(reader, &line.unit)) continue;
    if (reader.option() == 'h') {
      line.help = true;
      continue;
    }
    absl::Status stored =
        StoreOption(ParseDuration(reader.value()), "--timeout", reader.value(),
                    kTakesDuration, &line.timeout);
    if (!stored.ok()) return stored;
  }
  if (!reader.status().ok()) return reader.status();
  if (line.help) return line;
  absl::Status checked =
      CheckNames(reader, "wait", line.unit, /*may_name_none=*/false);
  if (!checked.ok()) return checked;
  line.names = reader.rest();
  // As for `treekill run`.
  if (line.timeout == absl::ZeroDuration()) {
    line.timeout = absl::InfiniteDuration();
  }
  return line;
}

// Of a clock that nobody sets.
absl::Duration Now() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

int WaitForUnit(const WaitCommandLine& line) {
  absl::StatusOr<Unit> unit = Unit::Find(line.unit.name, line.unit.manager);
  if (!unit.ok()) return Fail(unit.status());
  absl::StatusOr<bool> empty = unit->Wait(line.timeout);
  if (!empty.ok()) return Fail(empty.status());
  return *empty ? 0 : kTimedOut;
}

int WaitForRuns(const WaitCommandLine& line) {
  absl::Duration until = Now() + line.timeout;
  NamedRuns named = FindNamedRuns(line.names);
  for (LiveRun& run : named.runs) {
    absl::Duration left = std::max(until - Now(), absl::ZeroDuration());
    absl::StatusOr<bool> ended = run.Wait(left);
    if (!ended.ok()) return Fail(ended.status());
    if (!*ended) return kTimedOut;
  }
  return named.status;
}

}  // namespace

int WaitMain(int argc, char** argv) {
  absl::StatusOr<WaitCommandLine> line = ParseWaitCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) {
    return PrintToStdout(
        absl::StrCat(kWaitHelp, kNameHelp, kUnitHelp, kMoreHelp));
  }
  return line->unit.given ? WaitForUnit(*line) : WaitForRuns(*line);
}

}  // namespace treekill::cli
