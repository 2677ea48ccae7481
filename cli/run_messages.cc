#include "cli/run_messages.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/output.h"
#include "cli/table.h"

namespace treekill::cli {
namespace {

constexpr size_t kMostLines = 20;
// For a line in a log.
constexpr size_t kLongestCommand = 200;

std::string LeakLine(const Member& member) {
  std::string command =
      Cut(CommandText(member.name, member.argv, /*utf8=*/false),
          kLongestCommand, /*utf8=*/false);
  absl::Duration age = absl::Trunc(member.age, absl::Milliseconds(1));
  return absl::StrCat("outlived the command: pid ", member.pid, " (", command,
                      "), ", absl::FormatDuration(age), " old: ",
                      member.escapes.empty() ? "in the command's process group"
                                             : EscapesOf(member));
}

bool HoldsOutput(const Member& member) {
  return std::any_of(
      member.escapes.begin(), member.escapes.end(), [](Escape escape) {
        return escape == Escape::kHoldsStdout || escape == Escape::kHoldsStderr;
      });
}

}  // namespace

std::string Summary(const TreeReport& report) {
  std::string text = absl::StrCat("ended by ", EndReasonName(report.reason),
                                  ", ", report.status.ToString(), ", after ",
                                  absl::FormatDuration(report.run_time));
  if (report.leaked_count > 0) {
    size_t others = report.leaked_count - report.leaked.size();
    absl::StrAppend(&text, "; ", report.leaked_count, " outlived it",
                    report.leaked.empty() ? "" : ": ", Names(report.leaked));
    if (others > 0 && !report.leaked.empty()) {
      absl::StrAppend(&text, " and ", others, " that ended meanwhile");
    }
  }
  if (report.strays_killed > 0) {
    absl::StrAppend(&text, "; ", report.strays_killed, " had left the cgroup");
  }
  return absl::StrCat(text, report.killed ? "; SIGKILL was needed" : "",
                      !report.drained       ? "; given up after "
                      : report.kept.empty() ? "; nothing is left after "
                                            : "; nothing else is left after ",
                      absl::FormatDuration(report.teardown_time));
}

void SayWhoLeaked(const TreeReport& report) {
  size_t count = report.leaked.size();
  for (size_t i = 0; i < std::min(count, kMostLines); ++i) {
    Message(LeakLine(report.leaked[i]));
  }
  if (count > kMostLines) {
    Message(absl::StrCat("and ", count - kMostLines, " more"));
  }
}

void SayWhoIsKept(const TreeReport& report, const std::string& name) {
  if (report.kept_leaf.empty()) return;
  std::string leaf = report.kept_leaf.substr(report.kept_leaf.rfind('/') + 1);
  bool holds = std::any_of(report.kept.begin(), report.kept.end(), HoldsOutput);
  Message(absl::StrCat("kept: ", Names(report.kept),
                       holds ? ", with the command's output open" : "",
                       "; to end it: treekill kill ",
                       name.empty() ? leaf : name));
}

}  // namespace treekill::cli
