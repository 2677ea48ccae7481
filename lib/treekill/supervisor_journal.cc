#include "treekill/supervisor_journal.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "treekill/journal.h"
#include "treekill/json.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/signals.h"
#include "treekill/systemd/journal.h"

namespace treekill::internal {
namespace {

using Fields = std::vector<systemd::JournalField>;

// syslog(3).
constexpr char kWarning[] = "4";
constexpr char kInfo[] = "6";

// Of a text that anybody may have chosen, for a line that people read.
std::string Short(const std::string& text) {
  constexpr size_t kLongest = 64;
  return OneLine(text.substr(0, kLongest));
}

std::string Leader(const TreeState& tree) {
  return absl::StrCat(Short(tree.report.argv[0]), ", pid ", tree.report.leader);
}

std::string Names(const std::vector<Member>& members) {
  constexpr size_t kMost = 10;
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(members.size(), kMost); ++i) {
    names.push_back(
        absl::StrCat(members[i].pid, " (", OneLine(members[i].name), ")"));
  }
  if (members.size() > kMost) {
    names.push_back(absl::StrCat("and ", members.size() - kMost, " more"));
  }
  return names.empty() ? "" : absl::StrCat(": ", absl::StrJoin(names, ", "));
}

bool IsOfSystemManager(const TreeState& tree) {
  SystemdManager manager = tree.options.scope.manager;
  return manager == SystemdManager::kSystem ||
         (manager == SystemdManager::kAuto && geteuid() == 0);
}

Fields NewEntry(const TreeState& tree, const char* id, const char* priority,
                const std::string& message) {
  const TreeReport& report = tree.report;
  std::string prefix = report.name.empty() ? "" : report.name + ": ";
  Fields fields = {
      {"MESSAGE", prefix + message},
      {"MESSAGE_ID", id},
      {"PRIORITY", priority},
      {"SYSLOG_IDENTIFIER", "treekill"},
      {"TREEKILL_COMMAND", absl::StrJoin(report.argv, " ")},
      {"TREEKILL_LEADER_PID", absl::StrCat(report.leader)},
      {"TREEKILL_CONTAINMENT", ContainmentName(report.containment)}};
  if (!report.name.empty()) fields.push_back({"TREEKILL_NAME", report.name});
  if (!report.leaf.empty()) fields.push_back({"TREEKILL_CGROUP", report.leaf});
  if (!report.unit.empty()) {
    fields.push_back({"TREEKILL_UNIT", report.unit});
    fields.push_back(
        {IsOfSystemManager(tree) ? "OBJECT_SYSTEMD_UNIT" : "USER_UNIT",
         report.unit});
  }
  return fields;
}

void Send(TreeState& tree, const Fields& fields) {
  absl::Status sent = systemd::SendToJournal(fields);
  bool is_missed = !absl::IsNotFound(sent) || tree.options.journal.has_value();
  if (is_missed) tree.report.journal_error.Update(sent);
}

const char* ResultOf(const TreeReport& report) {
  if (!report.survivors.empty()) return "survivors";
  if (!report.drained) return "unknown";
  if (report.reason == EndReason::kTimeout) return "timeout";
  if (!report.status.known()) return "unknown";
  if (report.status.core_dumped()) return "core-dump";
  if (report.status.signaled()) return "signal";
  return report.status.success() ? "success" : "exit-code";
}

std::string EndMessage(const TreeState& tree) {
  const TreeReport& report = tree.report;
  std::string rest = report.drained
                         ? "nothing is left"
                         : "it is not known whether something is left";
  if (!report.survivors.empty()) {
    rest = absl::StrCat(report.survivors.size(), " survive SIGKILL",
                        Names(report.survivors));
  }
  return absl::StrCat(Leader(tree), ", ended by ", EndReasonName(report.reason),
                      ", ", report.status.ToString(), ", after ",
                      absl::FormatDuration(report.run_time), "; ", rest);
}

void AddEnd(const TreeReport& report, Fields* fields) {
  auto add = [fields](const char* name, std::string value) {
    fields->push_back({name, std::move(value)});
  };
  add("TREEKILL_REASON", EndReasonName(report.reason));
  add("TREEKILL_RESULT", ResultOf(report));
  const ExitStatus& status = report.status;
  if (status.exited()) add("TREEKILL_EXIT_CODE", absl::StrCat(status.code()));
  if (status.signaled()) {
    add("TREEKILL_SIGNAL", kernel::SignalName(status.signal()));
  }
  if (report.first_signal != 0) {
    add("TREEKILL_FIRST_SIGNAL", kernel::SignalName(report.first_signal));
  }
  add("TREEKILL_KILLED", report.killed ? "yes" : "no");
  add("TREEKILL_LEAKED_COUNT", absl::StrCat(report.leaked_count));
  add("TREEKILL_STRAYS_KILLED", absl::StrCat(report.strays_killed));
  if (!report.survivors.empty()) {
    add("TREEKILL_SURVIVORS", Dump(MembersToJson(report.survivors)));
  }
  if (!report.errors.empty()) {
    add("TREEKILL_ERRORS",
        absl::StrJoin(report.errors, "\n",
                      [](std::string* out, const absl::Status& error) {
                        absl::StrAppend(out, error.message());
                      }));
  }
  add("TREEKILL_RUN_USEC",
      absl::StrCat(absl::ToInt64Microseconds(report.run_time)));
  add("TREEKILL_TEARDOWN_USEC",
      absl::StrCat(absl::ToInt64Microseconds(report.teardown_time)));
}

}  // namespace

absl::Status CheckJournal(const TreeOptions& options) {
  if (!options.journal.value_or(false)) return absl::OkStatus();
  return kernel::WithHint(systemd::FindJournal(),
                          "start systemd-journald, or ask for no entries");
}

bool IsInJournal(const TreeState& tree) {
  return tree.options.journal.value_or(tree.report.containment ==
                                       Containment::kScope);
}

void JournalStart(TreeState& tree) {
  if (!IsInJournal(tree)) return;
  Send(tree, NewEntry(tree, kJournalStartedId, kInfo,
                      absl::StrCat("started ", Short(tree.report.argv[0]),
                                   " as pid ", tree.report.leader)));
}

void JournalLeak(TreeState& tree) {
  int count = tree.report.leaked_count;
  if (!IsInJournal(tree) || count == 0) return;
  Fields fields = NewEntry(tree, kJournalLeakedId, kWarning,
                           absl::StrCat(count, " outlived ", Leader(tree),
                                        Names(tree.report.leaked)));
  fields.push_back({"TREEKILL_LEAKED_COUNT", absl::StrCat(count)});
  fields.push_back(
      {"TREEKILL_LEAKED", Dump(MembersToJson(tree.report.leaked))});
  Send(tree, fields);
}

void JournalEnd(TreeState& tree) {
  if (!IsInJournal(tree)) return;
  const TreeReport& report = tree.report;
  bool is_well =
      report.drained && report.errors.empty() && report.status.known();
  Fields fields = NewEntry(tree, kJournalEndedId, is_well ? kInfo : kWarning,
                           EndMessage(tree));
  AddEnd(report, &fields);
  Send(tree, fields);
}

}  // namespace treekill::internal
