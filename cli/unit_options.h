// The options by which kill, ps and wait are told of a unit.
#ifndef TREEKILL_CLI_UNIT_OPTIONS_H_
#define TREEKILL_CLI_UNIT_OPTIONS_H_

#include <getopt.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/options.h"
#include "treekill/treekill.h"

namespace treekill::cli {

struct UnitChoice {
  // One of the options was there.
  bool given = false;
  std::string name;
  SystemdManager manager = SystemdManager::kAuto;
};

// `own` and these, --help included, as getopt_long(3) takes them.
std::vector<option> WithUnitOptions(std::vector<option> own);

extern const char kUnitHelp[];

// Takes the reader's option; false when it is none of these.
bool TakeUnitOption(const OptionReader& reader, UnitChoice* unit);

// kInvalidArgument when the command line does not name one unit and no more.
absl::Status CheckUnitChoice(const OptionReader& reader,
                             const std::string& subcommand,
                             const UnitChoice& unit);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_UNIT_OPTIONS_H_
