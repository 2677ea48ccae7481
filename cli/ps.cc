#include "cli/ps.h"

#include <getopt.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/unit_options.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kPsHelp[] =
    "Usage: treekill ps --unit=NAME [OPTION]...\n"
    "\n"
    "Lists the processes of a unit of systemd's, nested cgroups included. The\n"
    "cgroup is shown as it is below the unit's own.\n"
    "\n";
constexpr char kMoreHelp[] =
    "      --json                 in JSON\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0, also when there are none; 125 when treekill itself\n"
    "failed.\n";

enum Option { kJson = 256 };

struct PsCommandLine {
  bool help = false;
  bool json = false;
  UnitChoice unit;
};

absl::StatusOr<PsCommandLine> ParsePsCommandLine(int argc, char** argv) {
  PsCommandLine line;
  const std::vector<option> options =
      WithUnitOptions({{"json", no_argument, nullptr, kJson}});
  OptionReader reader(argc, argv, "ps", "+:h", options.data());
  while (reader.Next()) {
    if (TakeUnitOption(reader, &line.unit)) continue;
    (reader.option() == kJson ? line.json : line.help) = true;
  }
  if (!reader.status().ok()) return reader.status();
  if (line.help) return line;
  absl::Status checked = CheckUnitChoice(reader, "ps", line.unit);
  if (!checked.ok()) return checked;
  return line;
}

// As ps(1) shows it: by its name when it has no arguments.
std::string CommandOf(const UnitMember& member) {
  if (member.argv.empty()) {
    return Printable(absl::StrCat("[", member.process.name, "]"));
  }
  return Printable(absl::StrJoin(member.argv, " "));
}

std::string CgroupOf(const UnitMember& member) {
  return member.cgroup.empty() ? "/" : Printable(member.cgroup);
}

std::string ToTable(const std::vector<UnitMember>& members) {
  size_t width = 6;
  for (const UnitMember& member : members) {
    width = std::max(width, CgroupOf(member).size());
  }
  int columns = static_cast<int>(width);
  std::string table = absl::StrFormat("%7s %7s S %-*s COMMAND\n", "PID", "PPID",
                                      columns, "CGROUP");
  for (const UnitMember& member : members) {
    absl::StrAppendFormat(&table, "%7d %7d %c %-*s %s\n", member.process.pid,
                          member.process.parent, member.process.state, columns,
                          CgroupOf(member), CommandOf(member));
  }
  return table;
}

}  // namespace

int PsMain(int argc, char** argv) {
  absl::StatusOr<PsCommandLine> line = ParsePsCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) {
    return PrintToStdout(absl::StrCat(kPsHelp, kUnitHelp, kMoreHelp));
  }
  absl::StatusOr<Unit> unit = Unit::Find(line->unit.name, line->unit.manager);
  if (!unit.ok()) return Fail(unit.status());
  absl::StatusOr<std::vector<UnitMember>> members = unit->Members();
  if (!members.ok()) return Fail(members.status());
  return PrintToStdout(line->json
                           ? absl::StrCat(UnitToJson(*unit, *members), "\n")
                           : ToTable(*members));
}

}  // namespace treekill::cli
