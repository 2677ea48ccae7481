#include "treekill/json.h"
#include "treekill/live_run.h"

namespace treekill {
namespace {

using internal::Json;

Json NumberOrNull(pid_t pid) { return pid == 0 ? Json(nullptr) : Json(pid); }
Json TextOrNull(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json RunToJson(const RunListing& run) {
  const LiveRunInfo& info = run.info;
  Json json = {{"name", info.name},
               {"id", info.id},
               {"supervisor", NumberOrNull(info.supervisor)},
               {"supervisor_name", TextOrNull(info.supervisor_name)},
               {"containment", ContainmentName(info.containment)},
               {"leaf", TextOrNull(info.leaf)},
               {"unit", TextOrNull(info.unit)},
               {"uid", info.uid},
               {"age", absl::ToDoubleSeconds(info.age)},
               {"state", RunStateName(info.state)},
               {"leader", NumberOrNull(info.leader)}};
  internal::SetBytes("command_name", info.command_name, &json);
  internal::SetBytes("command", info.argv, &json);
  if (info.argv_truncated) json["command_truncated"] = true;
  // Those who have moved out are among the members only.
  json["member_count"] =
      run.members.has_value() ? run.members->size() : info.pids.size();
  if (info.cpu_time.has_value()) {
    json["cpu_time"] = absl::ToDoubleSeconds(*info.cpu_time);
  } else {
    json["cpu_time"] = nullptr;
  }
  json["memory"] = info.memory.has_value() ? Json(*info.memory) : Json(nullptr);
  if (run.members.has_value()) {
    json["members"] = internal::MembersToJson(*run.members);
  } else {
    json["pids"] = info.pids;
  }
  return json;
}

}  // namespace

std::string RunsToJson(const std::vector<RunListing>& runs) {
  Json list = Json::array();
  for (const RunListing& run : runs) list.push_back(RunToJson(run));
  return internal::Dump(
      {{"schema_version", internal::kSchemaVersion}, {"runs", list}});
}

}  // namespace treekill
