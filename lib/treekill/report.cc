#include "treekill/report.h"

#include <nlohmann/json.hpp>

#include "treekill/kernel/signals.h"

namespace treekill {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json MemberToJson(const Member& member) {
  Json json = {{"pid", member.pid},
               {"parent", member.parent},
               {"process_group", member.process_group},
               {"session", member.session},
               {"start_time", member.start_time},
               {"name", member.name},
               {"state", std::string(1, member.state)}};
  if (!member.wait_channel.empty()) json["wchan"] = member.wait_channel;
  return json;
}

Json MembersToJson(const std::vector<Member>& members) {
  Json json = Json::array();
  for (const Member& member : members) json.push_back(MemberToJson(member));
  return json;
}

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
  for (const absl::Status& error : errors) {
    json.push_back(std::string(error.message()));
  }
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
    case EndReason::kKilled:
      return "kill";
  }
  return "unknown";
}

std::string ReportToJson(const TreeReport& report, int exit_status) {
  Json json = {
      {"schema_version", kSchemaVersion},
      {"exit_status", exit_status},
      {"name", report.name},
      {"command", report.argv},
      {"containment", ContainmentName(report.containment)},
      {"leaf", report.leaf.empty() ? Json(nullptr) : Json(report.leaf)},
      {"leader", LeaderToJson(report)},
      {"reason", EndReasonName(report.reason)},
      {"first_signal", SignalToJson(report.first_signal)},
      {"killed", report.killed},
      {"leaked_count", report.leaked_count},
      {"leaked", MembersToJson(report.leaked)},
      {"strays_killed", report.strays_killed},
      {"drained", report.drained},
      {"survivors", MembersToJson(report.survivors)},
      {"errors", ErrorsToJson(report.errors)},
      {"times",
       {{"started", absl::ToDoubleSeconds(report.started - absl::UnixEpoch())},
        {"run", absl::ToDoubleSeconds(report.run_time)},
        {"teardown", absl::ToDoubleSeconds(report.teardown_time)},
        {"user", absl::ToDoubleSeconds(report.user_time)},
        {"system", absl::ToDoubleSeconds(report.system_time)}}},
      {"max_rss_kib", report.max_rss_kib}};
  return Dump(json);
}

std::string FailureToJson(const absl::Status& error, int exit_status) {
  return Dump({{"schema_version", kSchemaVersion},
               {"exit_status", exit_status},
               {"error", std::string(error.message())}});
}

}  // namespace treekill
