// What the JSON documents of the library have in common: internal to it.
#ifndef TREEKILL_JSON_H_
#define TREEKILL_JSON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "treekill/report.h"

namespace treekill::internal {

using Json = nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;

// In one line; bytes that are not UTF-8 are replaced.
std::string Dump(const Json& json);
// `text` with the bytes that are not UTF-8 replaced.
std::string ToUtf8(const std::string& text);
// The same in one line: control characters are blanks.
std::string OneLine(std::string text);
// Sets `key` to `text`; if that is not UTF-8 `key`_base64 as well, to all of
// its bytes.
void SetBytes(const std::string& key, const std::string& text, Json* json);
// The same with a list: all of its texts, if one is not UTF-8.
void SetBytes(const std::string& key, const std::vector<std::string>& texts,
              Json* json);
Json MemberToJson(const Member& member);
Json MembersToJson(const std::vector<Member>& members);
// The message; null when there is no error.
Json ErrorToJson(const absl::Status& error);

}  // namespace treekill::internal

#endif  // TREEKILL_JSON_H_
