// The settings of a transient scope, by the names of unit files, and the kinds
// of values that they take.
#ifndef TREEKILL_SYSTEMD_PROPERTY_TABLE_H_
#define TREEKILL_SYSTEMD_PROPERTY_TABLE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "treekill/systemd/property.h"

namespace treekill::systemd {

struct Setting;

struct Assigned {
  std::string name;
  PropertyValue value;
};

struct Kind {
  std::optional<Assigned> (*parse)(const Setting&, absl::string_view text);
  // For a message: "NAME= does not take 'x', but `takes`".
  const char* takes;
};

struct Setting {
  const char* name;
  const Kind* kind;
  // "one|two": the words that a setting of one word takes.
  const char* choices = "";
};

const std::vector<Setting>& AllSettings();

// nullptr without one of this very name.
const Setting* FindSetting(absl::string_view name);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_PROPERTY_TABLE_H_
