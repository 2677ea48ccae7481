// The values of unit settings, each kind from the text that a user writes:
// systemd.syntax(7), systemd.resource-control(5). nullopt: not such a value.
#ifndef TREEKILL_SYSTEMD_PROPERTY_VALUE_H_
#define TREEKILL_SYSTEMD_PROPERTY_VALUE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "treekill/systemd/property.h"

namespace treekill::systemd {

std::vector<std::string> SplitWords(absl::string_view text);

// "yes", "no", "true", "false", "on", "off", "1", "0", ...
std::optional<bool> ParseBoolean(absl::string_view text);

// A decimal number, without a sign.
std::optional<uint64_t> ParseNumber(absl::string_view text);

// "512", "1.5G": with the suffixes K, M, G, T, P, E, each `base` times the one
// before. "infinity" is the largest number.
std::optional<uint64_t> ParseSize(absl::string_view text, uint64_t base);

// "12.5%" in hundredths of a percent.
std::optional<uint64_t> ParsePercent(absl::string_view text);

// Up to 100 %, as a part of UINT32_MAX.
std::optional<uint32_t> ParseScale(absl::string_view text);

// 1 to 10000; "" is the default, all bits set.
std::optional<uint64_t> ParseWeight(absl::string_view text);

// "0-3,5 7" as bits, the lowest of the first byte first.
std::optional<std::vector<uint8_t>> ParseCpuSet(absl::string_view text);

// "10.0.0.0/8", "::1", and the words any, localhost, link-local, multicast.
std::optional<std::vector<IpPrefix>> ParsePrefixes(absl::string_view text);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_PROPERTY_VALUE_H_
