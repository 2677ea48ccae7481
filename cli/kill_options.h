// The command line of `treekill kill`.
#ifndef TREEKILL_CLI_KILL_OPTIONS_H_
#define TREEKILL_CLI_KILL_OPTIONS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/unit_options.h"
#include "treekill/treekill.h"

namespace treekill::cli {

enum class KillTarget { kRuns, kUnit, kTree, kGroup, kCgroup };

struct KillCommandLine {
  bool help = false;
  bool verbose = false;
  bool dry_run = false;
  KillTarget target = KillTarget::kRuns;
  // Of these the one that `target` says.
  std::vector<std::string> names;
  UnitChoice unit;
  pid_t pid = 0;
  pid_t group = 0;
  std::string cgroup;
  EndOptions options;
};

// Takes the arguments from "kill" on.
absl::StatusOr<KillCommandLine> ParseKillCommandLine(int argc, char** argv);

std::string KillHelp();

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_KILL_OPTIONS_H_
