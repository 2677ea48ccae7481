#include "treekill/json.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace treekill::internal {
namespace {

bool IsUtf8(const std::string& text) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isascii) ||
         ToUtf8(text) == text;
}

}  // namespace

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

void SetBytes(const std::string& key, const std::string& text, Json* json) {
  (*json)[key] = text;
  if (!IsUtf8(text)) {
    (*json)[absl::StrCat(key, "_base64")] = absl::Base64Escape(text);
  }
}

void SetBytes(const std::string& key, const std::vector<std::string>& texts,
              Json* json) {
  (*json)[key] = texts;
  if (std::all_of(texts.begin(), texts.end(), IsUtf8)) return;
  Json bytes = Json::array();
  for (const std::string& text : texts) {
    bytes.push_back(absl::Base64Escape(text));
  }
  (*json)[absl::StrCat(key, "_base64")] = std::move(bytes);
}

Json MemberToJson(const Member& member) {
  Json escapes = Json::array();
  for (Escape escape : member.escapes) escapes.push_back(EscapeName(escape));
  Json json = {{"pid", member.pid},
               {"parent", member.parent},
               {"process_group", member.process_group},
               {"session", member.session},
               {"start_time", member.start_time},
               {"age", absl::ToDoubleSeconds(member.age)}};
  SetBytes("name", member.name, &json);
  SetBytes("command", member.argv, &json);
  if (member.argv_truncated) json["command_truncated"] = true;
  json["uid"] = member.uid;
  json["state"] = std::string(1, member.state);
  if (!member.wait_channel.empty()) json["wchan"] = member.wait_channel;
  SetBytes("cgroup", member.cgroup, &json);
  const Reach& reach = member.reach;
  json["reach"] = {{"process", reach.process},
                   {"process_group", reach.process_group},
                   {"parent_death_signal", reach.parent_death_signal},
                   {"subreaper", reach.subreaper},
                   {"cgroup", reach.cgroup}};
  json["escapes"] = std::move(escapes);
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
