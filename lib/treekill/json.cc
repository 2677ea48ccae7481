#include "treekill/json.h"

#include "absl/strings/ascii.h"

namespace treekill::internal {
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string ToUtf8(const std::string& text) {
  return Json::parse(Dump(text)).get<std::string>();
}

std::string OneLine(std::string text) {
  for (char& c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  return ToUtf8(text);
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

Json ErrorToJson(const absl::Status& error) {
  return error.ok() ? Json(nullptr) : Json(std::string(error.message()));
}

}  // namespace treekill::internal
