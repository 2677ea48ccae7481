#include "cli/ps.h"

#include <getopt.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/process_tree.h"
#include "cli/run_names.h"
#include "cli/table.h"
#include "cli/unit_options.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kPsHelp[] =
    "Usage: treekill ps [OPTION]... [NAME]...\n"
    "       treekill ps --unit=NAME [OPTION]...\n"
    "\n"
    "Lists the runs that are alive on this machine, whoever has started them,\n"
    "or those of these names; or the processes of a unit of systemd's, nested\n"
    "cgroups included.\n"
    "\n";
constexpr char kMoreHelp[] =
    "\n"
    "      --tree                 draw the processes of each, who has started\n"
    "                             whom, and how they have escaped\n"
    "      --json                 in JSON\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0, also when there are none; 1 when no run is called NAME;\n"
    "125 when treekill itself failed.\n";

enum Option { kJson = 256, kTree };

struct PsCommandLine {
  bool help = false;
  bool json = false;
  bool tree = false;
  UnitChoice unit;
  std::vector<std::string> names;
};

absl::StatusOr<PsCommandLine> ParsePsCommandLine(int argc, char** argv) {
  PsCommandLine line;
  const std::vector<option> options =
      WithUnitOptions({{"json", no_argument, nullptr, kJson},
                       {"tree", no_argument, nullptr, kTree}});
  OptionReader reader(argc, argv, "ps", ":h", options.data());
  while (reader.Next()) {
    if (TakeUnitOption(reader, &line.unit)) continue;
    if (reader.option() == kJson) {
      line.json = true;
    } else if (reader.option() == kTree) {
      line.tree = true;
    } else {
      line.help = true;
    }
  }
  if (!reader.status().ok()) return reader.status();
  if (line.help) return line;
  absl::Status checked =
      CheckNames(reader, "ps", line.unit, /*may_name_none=*/true);
  if (!checked.ok()) return checked;
  line.names = reader.rest();
  return line;
}

// "5s", "4m05s", "1h02m", "3d04h".
std::string AgeText(absl::Duration age) {
  int64_t seconds = absl::ToInt64Seconds(age);
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) {
    return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  }
  if (seconds < 86400) {
    return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
  }
  return absl::StrFormat("%dd%02dh", seconds / 86400, seconds / 3600 % 24);
}

std::string CpuText(const std::optional<absl::Duration>& time) {
  if (!time.has_value()) return "-";
  if (*time >= absl::Minutes(1)) return AgeText(*time);
  return absl::StrFormat("%.2fs", absl::ToDoubleSeconds(*time));
}

// "512K", "1.5M".
std::string BytesText(const std::optional<uint64_t>& bytes) {
  if (!bytes.has_value()) return "-";
  if (*bytes < 1024) return absl::StrCat(*bytes, "B");
  double value = static_cast<double>(*bytes) / 1024;
  const char* unit = "KMGTPE";
  for (; value >= 1024; ++unit) value /= 1024;
  return absl::StrFormat("%.*f%c", value < 10 ? 1 : 0, value, *unit);
}

void AddRun(const RunListing& run, const Style& style, Table* table) {
  const LiveRunInfo& info = run.info;
  size_t count =
      run.members.has_value() ? run.members->size() : info.pids.size();
  table->AddRow({info.name.empty() ? "-" : Printable(info.name),
                 info.supervisor == 0 ? "-" : absl::StrCat(info.supervisor),
                 ContainmentName(info.containment), AgeText(info.age),
                 absl::StrCat(count), CpuText(info.cpu_time),
                 BytesText(info.memory), RunStateName(info.state),
                 CommandText(info.command_name, info.argv, style.utf8)});
  if (run.members.has_value()) DrawTree(*run.members, style, table);
}

std::string ToTable(const std::vector<RunListing>& runs) {
  constexpr bool kToTheRight = true;
  Table table({{"NAME"},
               {"SUPERVISOR", kToTheRight},
               {"HELD BY"},
               {"AGE", kToTheRight},
               {"MEMBERS", kToTheRight},
               {"CPU", kToTheRight},
               {"MEM", kToTheRight},
               {"STATE"},
               {"COMMAND"}});
  const Style style = StyleOfStdout();
  for (const RunListing& run : runs) AddRun(run, style, &table);
  return table.ToText(style);
}

int ListRuns(const PsCommandLine& line) {
  NamedRuns named;
  if (!line.names.empty()) {
    named = FindNamedRuns(line.names);
    if (named.runs.empty()) return named.status;
  } else {
    absl::StatusOr<std::vector<LiveRun>> runs = treekill::ListRuns();
    if (!runs.ok()) return Fail(runs.status());
    named.runs = *std::move(runs);
  }
  std::vector<RunListing> listings;
  for (const LiveRun& run : named.runs) {
    RunListing listing{.info = run.info()};
    if (line.tree) {
      absl::StatusOr<std::vector<Member>> members = run.Members();
      if (!members.ok() && !absl::IsPermissionDenied(members.status())) {
        return Fail(members.status());
      }
      if (members.ok()) listing.members = *std::move(members);
    }
    listings.push_back(std::move(listing));
  }
  int printed = PrintToStdout(
      line.json ? absl::StrCat(RunsToJson(listings), "\n") : ToTable(listings));
  return printed != 0 ? printed : named.status;
}

std::string ToTable(const std::vector<UnitMember>& members) {
  constexpr bool kToTheRight = true;
  Table table({{"PID", kToTheRight},
               {"PPID", kToTheRight},
               {"S"},
               {"CGROUP"},
               {"COMMAND"}});
  const Style style = StyleOfStdout();
  for (const UnitMember& member : members) {
    const Member& process = member.process;
    table.AddRow({absl::StrCat(process.pid), absl::StrCat(process.parent),
                  std::string(1, process.state),
                  member.cgroup.empty() ? "/" : Printable(member.cgroup),
                  CommandText(process.name, process.argv, style.utf8)});
  }
  return table.ToText(style);
}

std::string ToTree(const Unit& unit, const std::vector<UnitMember>& members) {
  const Style style = StyleOfStdout();
  std::vector<Member> processes;
  for (const UnitMember& member : members) processes.push_back(member.process);
  Table table({{Printable(unit.name())}});
  DrawTree(processes, style, &table);
  return table.ToText(style);
}

int ListUnit(const PsCommandLine& line) {
  absl::StatusOr<Unit> unit = Unit::Find(line.unit.name, line.unit.manager);
  if (!unit.ok()) return Fail(unit.status());
  absl::StatusOr<std::vector<UnitMember>> members = unit->Members();
  if (!members.ok()) return Fail(members.status());
  if (line.json) {
    return PrintToStdout(absl::StrCat(UnitToJson(*unit, *members), "\n"));
  }
  return PrintToStdout(line.tree ? ToTree(*unit, *members) : ToTable(*members));
}

}  // namespace

int PsMain(int argc, char** argv) {
  absl::StatusOr<PsCommandLine> line = ParsePsCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) {
    return PrintToStdout(
        absl::StrCat(kPsHelp, kNameHelp, kUnitHelp, kMoreHelp));
  }
  return line->unit.given ? ListUnit(*line) : ListRuns(*line);
}

}  // namespace treekill::cli
