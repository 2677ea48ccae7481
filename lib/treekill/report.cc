#include "treekill/report.h"

#include "treekill/json.h"
#include "treekill/kernel/signals.h"

namespace treekill {
namespace {

using internal::ErrorToJson;
using internal::Json;
using internal::kSchemaVersion;
using internal::MembersToJson;

Json SignalToJson(int signal) {
  return signal == 0 ? Json(nullptr) : Json(kernel::SignalName(signal));
}

Json LeaderToJson(const TreeReport& report) {
  const ExitStatus& status = report.status;
  return {{"pid", report.leader},
          {"exit_code", status.exited() ? Json(status.code()) : Json(nullptr)},
          {"signal", SignalToJson(status.signal())},
          {"core_dumped", status.core_dumped()}};
}

Json ErrorsToJson(const std::vector<absl::Status>& errors) {
  Json json = Json::array();
  for (const absl::Status& error : errors) json.push_back(ErrorToJson(error));
  return json;
}

}  // namespace

const char* EndReasonName(EndReason reason) {
  switch (reason) {
    case EndReason::kLeaderExited:
      return "exit";
    case EndReason::kTimeout:
      return "timeout";
    case EndReason::kStopped:
      return "stop";
    case EndReason::kParentDied:
      return "parent-death";
    case EndReason::kLifelineClosed:
      return "lifeline";
    case EndReason::kUnitStopped:
      return "unit-stop";
    case EndReason::kKilled:
      return "kill";
  }
  return "unknown";
}

std::string ReportToJson(const TreeReport& report, int exit_status) {
  Json json = {{"schema_version", kSchemaVersion},
               {"exit_status", exit_status},
               {"name", report.name}};
  internal::SetBytes("command", report.argv, &json);
  json.update(
      {{"containment", ContainmentName(report.containment)},
       {"containment_error", ErrorToJson(report.containment_error)},
       {"unit", report.unit.empty() ? Json(nullptr) : Json(report.unit)},
       {"leaf", report.leaf.empty() ? Json(nullptr) : Json(report.leaf)},
       {"on_supervisor_death",
        OnSupervisorDeathName(report.on_supervisor_death)},
       {"guardian_error", ErrorToJson(report.guardian_error)},
       {"journal_error", ErrorToJson(report.journal_error)},
       {"leader", LeaderToJson(report)},
       {"reason", EndReasonName(report.reason)},
       {"first_signal", SignalToJson(report.first_signal)},
       {"killed", report.killed},
       {"members", MembersToJson(report.members)},
       {"leaked_count", report.leaked_count},
       {"leaked", MembersToJson(report.leaked)},
       {"kept", MembersToJson(report.kept)},
       {"kept_leaf",
        report.kept_leaf.empty() ? Json(nullptr) : Json(report.kept_leaf)},
       {"strays_killed", report.strays_killed},
       {"drained", report.drained},
       {"survivors", MembersToJson(report.survivors)},
       {"errors", ErrorsToJson(report.errors)},
       {"times",
        {{"started", absl::ToDoubleSeconds(report.started - absl::UnixEpoch())},
         {"run", absl::ToDoubleSeconds(report.run_time)},
         {"wait", absl::ToDoubleSeconds(report.wait_time)},
         {"teardown", absl::ToDoubleSeconds(report.teardown_time)},
         {"user", absl::ToDoubleSeconds(report.user_time)},
         {"system", absl::ToDoubleSeconds(report.system_time)}}},
       {"max_rss_kib", report.max_rss_kib}});
  return internal::Dump(json);
}

std::string FailureToJson(const absl::Status& error, int exit_status) {
  return internal::Dump({{"schema_version", kSchemaVersion},
                         {"exit_status", exit_status},
                         {"error", ErrorToJson(error)}});
}

}  // namespace treekill
