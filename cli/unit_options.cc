#include "cli/unit_options.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

// Above those of the subcommands' own.
enum Option { kUnitName = 512, kUserManager, kSystemManager };

}  // namespace

const char kUnitHelp[] =
    "      --unit=NAME            a service (also without its suffix), scope "
    "or\n"
    "                             slice, whoever has made it\n"
    "      --user, --system       whose systemd runs it (default: the user's\n"
    "                             for users, the system's for root)\n";

std::vector<option> WithUnitOptions(std::vector<option> own) {
  own.insert(own.end(), {{"unit", required_argument, nullptr, kUnitName},
                         {"user", no_argument, nullptr, kUserManager},
                         {"system", no_argument, nullptr, kSystemManager},
                         {"help", no_argument, nullptr, 'h'},
                         {nullptr, 0, nullptr, 0}});
  return own;
}

bool TakeUnitOption(const OptionReader& reader, UnitChoice* unit) {
  switch (reader.option()) {
    case kUnitName:
      unit->name = reader.value();
      break;
    case kUserManager:
      unit->manager = SystemdManager::kUser;
      break;
    case kSystemManager:
      unit->manager = SystemdManager::kSystem;
      break;
    default:
      return false;
  }
  unit->given = true;
  return true;
}

absl::Status CheckUnitChoice(const OptionReader& reader,
                             const std::string& subcommand,
                             const UnitChoice& unit) {
  std::vector<std::string> words = reader.rest();
  if (!words.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(subcommand, " takes no arguments, and got ",
                     Quoted(words[0]), "; a unit is named by --unit=NAME"));
  }
  if (unit.name.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "nothing is named; usage: treekill ", subcommand, " --unit=NAME"));
  }
  return absl::OkStatus();
}

}  // namespace treekill::cli
