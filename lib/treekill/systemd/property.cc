#include "treekill/systemd/property.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/systemd/property_table.h"

namespace treekill::systemd {
namespace {

constexpr char kManual[] = "see systemd.resource-control(5)";

// Settings of systemd.service(5) and systemd.exec(5), which the manager applies
// to what it starts itself. "*": and all that begin so.
constexpr absl::string_view kOfServices[] = {"AmbientCapabilities",
                                             "BindPaths",
                                             "BindReadOnlyPaths",
                                             "CPUAffinity",
                                             "CPUScheduling*",
                                             "Capability*",
                                             "DynamicUser",
                                             "Environment*",
                                             "Exec*",
                                             "Group",
                                             "IOScheduling*",
                                             "Limit*",
                                             "LogLevelMax",
                                             "NUMA*",
                                             "Nice",
                                             "NoNewPrivileges",
                                             "NotifyAccess",
                                             "OOMScoreAdjust",
                                             "PAMName",
                                             "PIDFile",
                                             "Private*",
                                             "Protect*",
                                             "ReadOnlyPaths",
                                             "ReadWritePaths",
                                             "InaccessiblePaths",
                                             "RemainAfterExit",
                                             "Restart",
                                             "RestartSec",
                                             "Restrict*",
                                             "Root*",
                                             "Standard*",
                                             "SupplementaryGroups",
                                             "SystemCall*",
                                             "TimeoutStartSec",
                                             "TimeoutSec",
                                             "Type",
                                             "UMask",
                                             "User",
                                             "WatchdogSec",
                                             "WorkingDirectory"};

bool IsOfServices(absl::string_view name) {
  return std::any_of(std::begin(kOfServices), std::end(kOfServices),
                     [&](absl::string_view entry) {
                       return entry.back() == '*'
                                  ? absl::StartsWith(
                                        name, entry.substr(0, entry.size() - 1))
                                  : name == entry;
                     });
}

// How many letters one has to change, add or drop (Levenshtein's distance).
size_t Distance(absl::string_view from, absl::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  for (size_t i = 0; i < row.size(); ++i) row[i] = i;
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < to.size(); ++j) {
      size_t changed = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, changed});
    }
  }
  return row.back();
}

absl::string_view NearestName(absl::string_view name) {
  std::string lower = absl::AsciiStrToLower(name);
  size_t least = 3;
  absl::string_view nearest;
  for (const Setting& setting : AllSettings()) {
    size_t distance = Distance(lower, absl::AsciiStrToLower(setting.name));
    if (distance >= least) continue;
    least = distance;
    nearest = setting.name;
  }
  return nearest;
}

absl::Status UnknownName(absl::string_view name) {
  if (IsOfServices(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name,
                     "= is a property of services; a scope takes MemoryMax=, "
                     "CPUQuota=, TasksMax= and others, ",
                     kManual));
  }
  absl::string_view nearest = NearestName(name);
  std::string advice =
      nearest.empty() ? "a scope takes MemoryMax=, CPUQuota=, TasksMax= and "
                        "others"
                      : absl::StrCat("did you mean ", nearest, "=?");
  return absl::InvalidArgumentError(
      absl::StrCat("unknown property '", absl::CHexEscape(name), "'; ", advice,
                   nearest.empty() ? ", " : " Else ", kManual));
}

}  // namespace

const char* SignatureOf(const PropertyValue& value) {
  constexpr const char* kSignatures[] = {
      "b", "i", "u", "t", "s", "as", "ay", "a(st)", "a(ss)", "a(iayu)"};
  static_assert(std::size(kSignatures) == std::variant_size_v<PropertyValue>);
  return kSignatures[value.index()];
}

absl::StatusOr<Property> ParseProperty(absl::string_view assignment) {
  size_t equals = assignment.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", absl::CHexEscape(assignment),
                     "' is no property; write NAME=VALUE, as MemoryMax=1G"));
  }
  absl::string_view name = assignment.substr(0, equals);
  absl::string_view text = assignment.substr(equals + 1);
  const Setting* setting = FindSetting(name);
  if (setting == nullptr) return UnknownName(name);
  std::optional<Assigned> assigned = setting->kind->parse(*setting, text);
  if (!assigned.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, "= does not take '", absl::CHexEscape(text),
                     "', but ", setting->kind->takes, setting->choices));
  }
  const bool* on = std::get_if<bool>(&assigned->value);
  if (name == "Delegate" && on != nullptr && !*on) {
    return absl::InvalidArgumentError(
        "Delegate=no cannot be: treekill makes a cgroup below the scope's");
  }
  std::string signature = SignatureOf(assigned->value);
  return Property{assigned->name, signature, std::move(assigned->value)};
}

}  // namespace treekill::systemd
