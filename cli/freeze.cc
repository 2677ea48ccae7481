#include "cli/freeze.h"

#include <getopt.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/run_names.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kFreezeHelp[] =
    "Usage: treekill freeze NAME...\n"
    "\n"
    "Stops every process of the runs of these names, until 'treekill thaw'.\n"
    "They need not consent, cannot see it, and can be ended all the same; the\n"
    "time of a --timeout goes on. Returns when all stand still; if a process\n"
    "has moved to another cgroup, where it goes on, says so, with status 1.\n"
    "\n";
constexpr char kThawHelp[] =
    "Usage: treekill thaw NAME...\n"
    "\n"
    "Lets the processes of the runs of these names go on that 'treekill\n"
    "freeze' has stopped.\n"
    "\n";
constexpr char kMoreHelp[] =
    "\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0; 1 when no run is called NAME; 125 when treekill itself\n"
    "failed, as with a run that is held by a subreaper.\n";

// Those who have moved out of the cgroup.
absl::Status CheckAllStand(const LiveRun& run) {
  absl::StatusOr<std::vector<Member>> members = run.Members();
  if (!members.ok()) return members.status();
  std::erase_if(*members, [](const Member& member) {
    return std::find(member.escapes.begin(), member.escapes.end(),
                     Escape::kMigrated) == member.escapes.end();
  });
  if (members->empty()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("no longer in the cgroup of ", run.info().id,
                   ", and not frozen: ", Names(*members)));
}

int ForEachRun(int argc, char** argv, const char* help,
               absl::Status (*change)(LiveRun* run)) {
  constexpr option kOptions[] = {{"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  const std::string subcommand = argv[0];
  OptionReader reader(argc, argv, subcommand.c_str(), ":h", kOptions);
  if (reader.Next()) {
    return PrintToStdout(absl::StrCat(help, kNameHelp, kMoreHelp));
  }
  if (!reader.status().ok()) return Fail(reader.status());
  if (reader.rest().empty()) {
    Message(absl::StrCat("nothing is named; usage: treekill ", subcommand,
                         " NAME...; 'treekill ps' lists what there is"));
    return kOwnFailure;
  }
  NamedRuns named = FindNamedRuns(reader.rest());
  for (LiveRun& run : named.runs) {
    absl::Status changed = change(&run);
    if (changed.ok()) continue;
    named.status = std::max(named.status, FailOfTarget(changed));
  }
  return named.status;
}

}  // namespace

int FreezeMain(int argc, char** argv) {
  return ForEachRun(argc, argv, kFreezeHelp, [](LiveRun* run) {
    absl::Status frozen = run->Freeze();
    return frozen.ok() ? CheckAllStand(*run) : frozen;
  });
}

int ThawMain(int argc, char** argv) {
  return ForEachRun(argc, argv, kThawHelp,
                    [](LiveRun* run) { return run->Thaw(); });
}

}  // namespace treekill::cli
