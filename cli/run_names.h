// The runs, or the unit, that ps, wait, freeze, thaw and exec are told of.
#ifndef TREEKILL_CLI_RUN_NAMES_H_
#define TREEKILL_CLI_RUN_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/options.h"
#include "cli/unit_options.h"
#include "treekill/treekill.h"

namespace treekill::cli {

// There is none of that name or number, or it is over by now.
constexpr int kNoSuchTarget = 1;

extern const char kNameHelp[];

// kInvalidArgument when a command line names both a unit and runs, or, unless
// it `may_name_none`, nothing.
absl::Status CheckNames(const OptionReader& reader,
                        const std::string& subcommand, const UnitChoice& unit,
                        bool may_name_none);

struct NamedRuns {
  // Each of them once.
  std::vector<LiveRun> runs;
  // 0, kNoSuchTarget or kOwnFailure.
  int status = 0;
};

// All runs that the names mean. Says which mean none.
NamedRuns FindNamedRuns(const std::vector<std::string>& names);

// Says what `status`, of a run or of processes, is about; returns kNoSuchTarget
// if those are over, else kOwnFailure.
int FailOfTarget(const absl::Status& status);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_RUN_NAMES_H_
