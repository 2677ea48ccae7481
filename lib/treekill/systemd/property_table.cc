#include "treekill/systemd/property_table.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "treekill/kernel/signals.h"
#include "treekill/systemd/property_value.h"
#include "treekill/systemd/time_span.h"
#include "treekill/systemd/unit_name.h"

namespace treekill::systemd {
namespace {

constexpr uint64_t kUnset = UINT64_MAX;

using Result = std::optional<Assigned>;

// "RuntimeMaxSec" is "RuntimeMaxUSec" on D-Bus.
std::string InMicroseconds(absl::string_view name) {
  return absl::StrCat(absl::StripSuffix(name, "Sec"), "USec");
}

template <typename T>
Result Assign(const std::string& name, std::optional<T> value) {
  if (!value.has_value()) return std::nullopt;
  return Assigned{name, PropertyValue(*std::move(value))};
}

Result Boolean(const Setting& setting, absl::string_view text) {
  return Assign(setting.name, ParseBoolean(text));
}

Result Text(const Setting& setting, absl::string_view text) {
  return Assigned{setting.name, std::string(text)};
}

Result Choice(const Setting& setting, absl::string_view text) {
  for (absl::string_view choice : absl::StrSplit(setting.choices, '|')) {
    if (text == choice) return Text(setting, text);
  }
  return std::nullopt;
}

Result Words(const Setting& setting, absl::string_view text) {
  return Assigned{setting.name, SplitWords(text)};
}

Result Units(const Setting& setting, absl::string_view text) {
  std::vector<std::string> units;
  for (const std::string& word : SplitWords(text)) {
    absl::StatusOr<std::string> unit = UnitNameFromUser(word, ".service");
    if (!unit.ok()) return std::nullopt;
    units.push_back(*std::move(unit));
  }
  return Assigned{setting.name, std::move(units)};
}

Result SliceName(const Setting& setting, absl::string_view text) {
  absl::StatusOr<std::string> slice = UnitNameFromUser(text, ".slice");
  if (!slice.ok() || !absl::EndsWith(*slice, ".slice")) return std::nullopt;
  return Assigned{setting.name, *std::move(slice)};
}

Result Weight(const Setting& setting, absl::string_view text) {
  return Assign(setting.name, ParseWeight(text));
}

Result CpuWeight(const Setting& setting, absl::string_view text) {
  if (text == "idle") return Assigned{setting.name, uint64_t{0}};
  return Weight(setting, text);
}

Result Quota(const Setting&, absl::string_view text) {
  const char* name = "CPUQuotaPerSecUSec";
  if (text.empty()) return Assigned{name, kUnset};
  std::optional<uint64_t> permyriad = ParsePercent(text);
  if (!permyriad.has_value() || *permyriad == 0) return std::nullopt;
  return Assigned{name, *permyriad * 100};
}

Result CpuSet(const Setting& setting, absl::string_view text) {
  return Assign(setting.name, ParseCpuSet(text));
}

Result Memory(const Setting& setting, absl::string_view text) {
  if (std::optional<uint32_t> scale = ParseScale(text)) {
    return Assigned{absl::StrCat(setting.name, "Scale"), *scale};
  }
  return Assign(setting.name, ParseSize(text, 1024));
}

Result Tasks(const Setting& setting, absl::string_view text) {
  if (text.empty() || text == "infinity") return Assigned{setting.name, kUnset};
  if (std::optional<uint32_t> scale = ParseScale(text)) {
    return Assigned{absl::StrCat(setting.name, "Scale"), *scale};
  }
  return Assign(setting.name, ParseNumber(text));
}

Result Pressure(const Setting& setting, absl::string_view text) {
  return Assign(setting.name, ParseScale(text));
}

// "PATH VALUE" for one path; "" is none at all.
template <typename Parse>
Result PathAnd(const std::string& name, absl::string_view text, Parse parse) {
  std::vector<std::pair<std::string, uint64_t>> list;
  if (text.empty()) return Assigned{name, std::move(list)};
  std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(' ', 1));
  std::optional<uint64_t> value =
      parse(absl::StripAsciiWhitespace(parts.second));
  if (!absl::StartsWith(parts.first, "/") || !value.has_value()) {
    return std::nullopt;
  }
  list.emplace_back(parts.first, *value);
  return Assigned{name, std::move(list)};
}

Result DeviceLimit(const Setting& setting, absl::string_view text) {
  return PathAnd(setting.name, text, [](absl::string_view value) {
    return ParseSize(value, 1000);
  });
}

Result DeviceWeight(const Setting& setting, absl::string_view text) {
  return PathAnd(setting.name, text, [](absl::string_view value) {
    return value.empty() ? std::nullopt : ParseWeight(value);
  });
}

Result DeviceLatency(const Setting& setting, absl::string_view text) {
  return PathAnd(InMicroseconds(setting.name), text, ParseTimeSpan);
}

Result DeviceRights(const Setting& setting, absl::string_view text) {
  std::vector<std::pair<std::string, std::string>> list;
  std::vector<std::string> words = SplitWords(text);
  if (words.size() > 2) return std::nullopt;
  if (!words.empty()) {
    std::string rights = words.size() == 2 ? words[1] : "";
    if (rights.find_first_not_of("rwm") != std::string::npos) {
      return std::nullopt;
    }
    list.emplace_back(words[0], rights);
  }
  return Assigned{setting.name, std::move(list)};
}

Result Prefixes(const Setting& setting, absl::string_view text) {
  return Assign(setting.name, ParsePrefixes(text));
}

Result Delegation(const Setting& setting, absl::string_view text) {
  if (std::optional<bool> all = ParseBoolean(text)) {
    return Assigned{setting.name, *all};
  }
  return Assigned{"DelegateControllers", SplitWords(text)};
}

Result Signal(const Setting& setting, absl::string_view text) {
  return Assign(setting.name, kernel::ParseSignal(std::string(text)));
}

Result TimeSpan(const Setting& setting, absl::string_view text) {
  return Assign(InMicroseconds(setting.name), ParseTimeSpan(text));
}

// "" is back to the default.
Result Period(const Setting& setting, absl::string_view text) {
  return TimeSpan(setting, text.empty() ? "infinity" : text);
}

constexpr Kind kBoolean{Boolean, "a boolean, as yes or no"};
constexpr Kind kText{Text, "any text"};
constexpr Kind kChoice{Choice, "one of "};
constexpr Kind kWords{Words, "words"};
constexpr Kind kUnits{Units, "names of units, as a.service b.target"};
constexpr Kind kSliceName{SliceName, "the name of a slice, as work.slice"};
constexpr Kind kWeight{Weight, "a weight from 1 to 10000, as 100"};
constexpr Kind kCpuWeight{CpuWeight,
                          "a weight from 1 to 10000, or idle, as 100"};
constexpr Kind kQuota{Quota, "a percentage of one CPU, as 150%"};
constexpr Kind kCpuSet{CpuSet, "numbers and ranges, as 0-3,5"};
constexpr Kind kMemory{
    Memory, "a size, a percentage or infinity, as 512M, 1.5G or 50%"};
constexpr Kind kTasks{Tasks, "a number, a percentage or infinity, as 100"};
constexpr Kind kPressure{Pressure, "a percentage, as 60%"};
constexpr Kind kDeviceLimit{DeviceLimit, "a path and a number, as /dev/sda 5M"};
constexpr Kind kDeviceWeight{DeviceWeight,
                             "a path and a weight, as /dev/sda 100"};
constexpr Kind kDeviceLatency{DeviceLatency,
                              "a path and a time span, as /dev/sda 25ms"};
constexpr Kind kDeviceRights{DeviceRights,
                             "a device and r, w, m, as /dev/null rw"};
constexpr Kind kPrefixes{Prefixes,
                         "addresses with prefix lengths, any, localhost, "
                         "link-local or multicast, as 10.0.0.0/8"};
constexpr Kind kDelegation{Delegation, "a boolean or controllers, as memory"};
constexpr Kind kSignal{Signal, "a signal, as SIGTERM or 15"};
constexpr Kind kTimeSpan{TimeSpan, "a time span, as 5min 20s or infinity"};
constexpr Kind kPeriod{Period, "a time span, as 10ms"};

}  // namespace

const std::vector<Setting>& AllSettings() {
  static const auto* settings = new std::vector<Setting>{
      // systemd.resource-control(5)
      {"CPUAccounting", &kBoolean},
      {"CPUWeight", &kCpuWeight},
      {"StartupCPUWeight", &kCpuWeight},
      {"CPUQuota", &kQuota},
      {"CPUQuotaPeriodSec", &kPeriod},
      {"AllowedCPUs", &kCpuSet},
      {"StartupAllowedCPUs", &kCpuSet},
      {"AllowedMemoryNodes", &kCpuSet},
      {"StartupAllowedMemoryNodes", &kCpuSet},
      {"MemoryAccounting", &kBoolean},
      {"MemoryMin", &kMemory},
      {"MemoryLow", &kMemory},
      {"MemoryHigh", &kMemory},
      {"MemoryMax", &kMemory},
      {"MemorySwapMax", &kMemory},
      {"MemoryZSwapMax", &kMemory},
      {"TasksAccounting", &kBoolean},
      {"TasksMax", &kTasks},
      {"IOAccounting", &kBoolean},
      {"IOWeight", &kWeight},
      {"StartupIOWeight", &kWeight},
      {"IODeviceWeight", &kDeviceWeight},
      {"IOReadBandwidthMax", &kDeviceLimit},
      {"IOWriteBandwidthMax", &kDeviceLimit},
      {"IOReadIOPSMax", &kDeviceLimit},
      {"IOWriteIOPSMax", &kDeviceLimit},
      {"IODeviceLatencyTargetSec", &kDeviceLatency},
      {"IPAccounting", &kBoolean},
      {"IPAddressAllow", &kPrefixes},
      {"IPAddressDeny", &kPrefixes},
      {"DeviceAllow", &kDeviceRights},
      {"DevicePolicy", &kChoice, "auto|closed|strict"},
      {"Delegate", &kDelegation},
      {"DisableControllers", &kWords},
      {"ManagedOOMSwap", &kChoice, "auto|kill"},
      {"ManagedOOMMemoryPressure", &kChoice, "auto|kill"},
      {"ManagedOOMMemoryPressureLimit", &kPressure},
      {"ManagedOOMPreference", &kChoice, "none|avoid|omit"},
      {"Slice", &kSliceName},
      // systemd.kill(5)
      {"KillMode", &kChoice, "control-group|mixed|process|none"},
      {"KillSignal", &kSignal},
      {"RestartKillSignal", &kSignal},
      {"FinalKillSignal", &kSignal},
      {"WatchdogSignal", &kSignal},
      {"SendSIGHUP", &kBoolean},
      {"SendSIGKILL", &kBoolean},
      // systemd.scope(5)
      {"RuntimeMaxSec", &kTimeSpan},
      {"RuntimeRandomizedExtraSec", &kTimeSpan},
      {"TimeoutStopSec", &kTimeSpan},
      {"OOMPolicy", &kChoice, "continue|stop|kill"},
      // systemd.unit(5)
      {"Description", &kText},
      {"Documentation", &kWords},
      {"CollectMode", &kChoice, "inactive|inactive-or-failed"},
      {"DefaultDependencies", &kBoolean},
      {"IgnoreOnIsolate", &kBoolean},
      {"RefuseManualStop", &kBoolean},
      {"StopWhenUnneeded", &kBoolean},
      {"JobRunningTimeoutSec", &kTimeSpan},
      {"RequiresMountsFor", &kWords},
      {"Wants", &kUnits},
      {"Requires", &kUnits},
      {"Requisite", &kUnits},
      {"BindsTo", &kUnits},
      {"PartOf", &kUnits},
      {"Upholds", &kUnits},
      {"Conflicts", &kUnits},
      {"Before", &kUnits},
      {"After", &kUnits},
      {"OnFailure", &kUnits},
      {"OnSuccess", &kUnits},
  };
  return *settings;
}

const Setting* FindSetting(absl::string_view name) {
  for (const Setting& setting : AllSettings()) {
    if (name == setting.name) return &setting;
  }
  return nullptr;
}

}  // namespace treekill::systemd
