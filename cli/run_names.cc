#include "cli/run_names.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace treekill::cli {

const char kNameHelp[] =
    "NAME is what --name was, for all that are called so; or else the id that\n"
    "ps --json tells, the directory of the cgroup, or the pid of the "
    "treekill.\n";

absl::Status CheckNames(const OptionReader& reader,
                        const std::string& subcommand, const UnitChoice& unit,
                        bool may_name_none) {
  bool has_names = !reader.rest().empty();
  std::string help = absl::StrCat("; 'treekill ", subcommand, " --help'");
  if (unit.given && has_names) {
    return absl::InvalidArgumentError(absl::StrCat(
        subcommand, " takes the names of runs, or --unit=NAME, not both; got ",
        Quoted(reader.rest()[0]), help, " tells more"));
  }
  if ((unit.given && unit.name.empty()) ||
      (!unit.given && !has_names && !may_name_none)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "nothing is named; usage: treekill ", subcommand,
        " NAME... or --unit=NAME; 'treekill ps' lists what there is"));
  }
  return absl::OkStatus();
}

NamedRuns FindNamedRuns(const std::vector<std::string>& names) {
  NamedRuns named;
  std::set<std::string> ids;
  for (const std::string& name : names) {
    absl::StatusOr<std::vector<LiveRun>> runs = FindRuns(name);
    if (!runs.ok()) {
      named.status = FailOfTarget(runs.status());
      if (named.status == kOwnFailure) return named;
      continue;
    }
    for (LiveRun& run : *runs) {
      if (!ids.insert(run.info().id).second) continue;
      named.runs.push_back(std::move(run));
    }
  }
  return named;
}

int FailOfTarget(const absl::Status& status) {
  Fail(status);
  return absl::IsNotFound(status) ? kNoSuchTarget : kOwnFailure;
}

}  // namespace treekill::cli
