#include "treekill/systemd/unit_name.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace treekill::systemd {
namespace {

constexpr size_t kLongestName = 255;

constexpr absl::string_view kTypes[] = {
    "automount", "device", "mount", "path",   "scope", "service",
    "slice",     "socket", "swap",  "target", "timer"};

// Where the type begins, its dot included; npos without one.
size_t FindSuffix(absl::string_view name) {
  size_t dot = name.rfind('.');
  if (dot == absl::string_view::npos) return dot;
  bool known = std::find(std::begin(kTypes), std::end(kTypes),
                         name.substr(dot + 1)) != std::end(kTypes);
  return known ? dot : absl::string_view::npos;
}

bool IsPlain(char c) {
  return absl::ascii_isalnum(c) || c == ':' || c == '_' || c == '.';
}

bool MayStandInName(char c) {
  return IsPlain(c) || c == '-' || c == '\\' || c == '@';
}

absl::Status Bad(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", absl::CHexEscape(text), "' is no unit name: ", why));
}

// A slice's name is its path below the root, of parts that "-" separates.
absl::Status CheckSlice(absl::string_view name, absl::string_view stem) {
  if (stem == "-") return absl::OkStatus();
  if (absl::StartsWith(stem, "-") || absl::EndsWith(stem, "-") ||
      absl::StrContains(stem, "--")) {
    return Bad(name, "in a slice's name, each '-' goes between two parts");
  }
  return absl::OkStatus();
}

absl::Status CheckCharacters(absl::string_view text) {
  for (char c : text) {
    if (MayStandInName(c)) continue;
    if (c == '*' || c == '?' || c == '[') {
      return Bad(text, "it is a pattern, and this needs one unit");
    }
    return Bad(text,
               absl::StrCat("'", absl::CHexEscape(absl::string_view(&c, 1)),
                            "' is not allowed in it; escaped, as by "
                            "systemd-escape, it is '",
                            EscapeForUnitName(text), "'"));
  }
  return absl::OkStatus();
}

// `dot` is where the suffix of `name` begins.
absl::Status CheckName(absl::string_view name, size_t dot) {
  if (name.size() > kLongestName) {
    return Bad(name,
               absl::StrCat("it is longer than ", kLongestName, " bytes"));
  }
  absl::string_view stem = name.substr(0, dot);
  if (stem.empty()) return Bad(name, "there is only a type");
  absl::Status characters = CheckCharacters(stem);
  if (!characters.ok()) return characters;
  absl::string_view type = name.substr(dot);
  if ((type == ".slice" || type == ".scope") && absl::StrContains(stem, '@')) {
    return Bad(name, absl::StrCat("a ", type.substr(1), " has no '@'"));
  }
  if (type == ".slice") return CheckSlice(name, stem);
  size_t at = stem.find('@');
  if (at == 0) return Bad(name, "there is nothing before the '@'");
  if (at == stem.size() - 1) {
    return Bad(name, "it is a template without an instance after the '@'");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> UnitNameFromUser(absl::string_view text,
                                             absl::string_view suffix) {
  if (text.empty()) return Bad(text, "it is empty");
  bool whole = FindSuffix(text) != absl::string_view::npos;
  std::string name = absl::StrCat(text, whole ? "" : suffix);
  absl::Status status = CheckName(name, FindSuffix(name));
  if (!status.ok()) return status;
  return name;
}

std::string EscapeForUnitName(absl::string_view text) {
  std::string escaped;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    // A unit's file is not to be a hidden one.
    bool hides = i == 0 && c == '.';
    if (c == '/') {
      escaped += '-';
    } else if (IsPlain(c) && !hides) {
      escaped += c;
    } else {
      absl::StrAppendFormat(&escaped, "\\x%02x", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

}  // namespace treekill::systemd
