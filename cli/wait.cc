#include "cli/wait.h"

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

constexpr char kWaitHelp[] =
    "Usage: treekill wait --unit=NAME [OPTION]...\n"
    "\n"
    "Waits until no process of a unit of systemd's is alive, nested cgroups\n"
    "included, and systemd has done with it.\n"
    "\n";
constexpr char kMoreHelp[] =
    "      --timeout=DUR          wait no longer than that (0 and inf: for\n"
    "                             ever)\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0 when nothing is alive, 124 when the time is over, 125\n"
    "when treekill itself failed.\n";

enum Option { kTimeout = 256 };

struct WaitCommandLine {
  bool help = false;
  UnitChoice unit;
  absl::Duration timeout = absl::InfiniteDuration();
};

absl::StatusOr<WaitCommandLine> ParseWaitCommandLine(int argc, char** argv) {
  WaitCommandLine line;
  const std::vector<option> options =
      WithUnitOptions({{"timeout", required_argument, nullptr, kTimeout}});
  OptionReader reader(argc, argv, "wait", "+:h", options.data());
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
  absl::Status checked = CheckUnitChoice(reader, "wait", line.unit);
  if (!checked.ok()) return checked;
  // As for `treekill run`.
  if (line.timeout == absl::ZeroDuration()) {
    line.timeout = absl::InfiniteDuration();
  }
  return line;
}

}  // namespace

int WaitMain(int argc, char** argv) {
  absl::StatusOr<WaitCommandLine> line = ParseWaitCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) {
    return PrintToStdout(absl::StrCat(kWaitHelp, kUnitHelp, kMoreHelp));
  }
  absl::StatusOr<Unit> unit = Unit::Find(line->unit.name, line->unit.manager);
  if (!unit.ok()) return Fail(unit.status());
  absl::StatusOr<bool> empty = unit->Wait(line->timeout);
  if (!empty.ok()) return Fail(empty.status());
  return *empty ? 0 : kTimedOut;
}

}  // namespace treekill::cli
