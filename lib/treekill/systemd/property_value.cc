#include "treekill/systemd/property_value.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstddef>
#include <initializer_list>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace treekill::systemd {
namespace {

constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kWholePermyriad = 10000;
constexpr uint64_t kMostCpus = 8192;

bool IsOneOf(absl::string_view text,
             std::initializer_list<absl::string_view> words) {
  for (absl::string_view word : words) {
    if (absl::EqualsIgnoreCase(text, word)) return true;
  }
  return false;
}

std::optional<IpPrefix> ParsePrefix(absl::string_view text) {
  size_t slash = text.find('/');
  std::string address(text.substr(0, slash));
  bool six = absl::StrContains(address, ':');
  IpPrefix prefix;
  prefix.family = six ? AF_INET6 : AF_INET;
  prefix.bytes.resize(six ? 16 : 4);
  if (inet_pton(prefix.family, address.c_str(), prefix.bytes.data()) != 1) {
    return std::nullopt;
  }
  uint64_t bits = prefix.bytes.size() * 8;
  prefix.length = static_cast<uint32_t>(bits);
  if (slash == absl::string_view::npos) return prefix;
  std::optional<uint64_t> length = ParseNumber(text.substr(slash + 1));
  if (!length.has_value() || *length > bits) return std::nullopt;
  prefix.length = static_cast<uint32_t>(*length);
  return prefix;
}

// What systemd.resource-control(5) says that a word stands for.
absl::string_view ExpandPrefix(absl::string_view word) {
  if (word == "any") return "0.0.0.0/0 ::/0";
  if (word == "localhost") return "127.0.0.0/8 ::1/128";
  if (word == "link-local") return "169.254.0.0/16 fe80::/64";
  if (word == "multicast") return "224.0.0.0/4 ff00::/8";
  return word;
}

}  // namespace

std::vector<std::string> SplitWords(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

std::optional<bool> ParseBoolean(absl::string_view text) {
  if (IsOneOf(text, {"1", "yes", "y", "true", "t", "on"})) return true;
  if (IsOneOf(text, {"0", "no", "n", "false", "f", "off"})) return false;
  return std::nullopt;
}

std::optional<uint64_t> ParseNumber(absl::string_view text) {
  uint64_t number = 0;
  // SimpleAtoi() would take a sign and spaces.
  if (text.empty() || !absl::ascii_isdigit(text[0]) ||
      !absl::SimpleAtoi(text, &number)) {
    return std::nullopt;
  }
  return absl::ascii_isdigit(text.back()) ? std::optional(number)
                                          : std::nullopt;
}

std::optional<uint64_t> ParseSize(absl::string_view text, uint64_t base) {
  if (text == "infinity") return kLargest;
  if (text.empty()) return std::nullopt;
  size_t power = absl::string_view("BKMGTPE").find(text.back());
  if (power != absl::string_view::npos) text.remove_suffix(1);
  uint64_t unit = 1;
  for (size_t i = 0; power != absl::string_view::npos && i < power; ++i) {
    unit *= base;
  }
  size_t dot = text.find('.');
  std::optional<uint64_t> whole = ParseNumber(text.substr(0, dot));
  if (!whole.has_value() || *whole > kLargest / unit) return std::nullopt;
  uint64_t size = *whole * unit;
  if (dot == absl::string_view::npos) return size;
  double fraction = 0;
  if (!ParseNumber(text.substr(dot + 1)).has_value() ||
      !absl::SimpleAtod(text.substr(dot), &fraction)) {
    return std::nullopt;
  }
  auto part = static_cast<uint64_t>(fraction * static_cast<double>(unit));
  if (size > kLargest - part) return std::nullopt;
  return size + part;
}

std::optional<uint64_t> ParsePercent(absl::string_view text) {
  if (!absl::ConsumeSuffix(&text, "%")) return std::nullopt;
  size_t dot = text.find('.');
  std::optional<uint64_t> whole = ParseNumber(text.substr(0, dot));
  if (!whole.has_value() || *whole > INT32_MAX / 100) return std::nullopt;
  if (dot == absl::string_view::npos) return *whole * 100;
  absl::string_view digits = text.substr(dot + 1);
  std::optional<uint64_t> part = ParseNumber(digits);
  if (!part.has_value() || digits.size() > 2) return std::nullopt;
  return *whole * 100 + *part * (digits.size() == 1 ? 10 : 1);
}

std::optional<uint32_t> ParseScale(absl::string_view text) {
  std::optional<uint64_t> permyriad = ParsePercent(text);
  if (!permyriad.has_value() || *permyriad > kWholePermyriad) {
    return std::nullopt;
  }
  return static_cast<uint32_t>((*permyriad * UINT32_MAX + kWholePermyriad / 2) /
                               kWholePermyriad);
}

std::optional<uint64_t> ParseWeight(absl::string_view text) {
  if (text.empty()) return kLargest;
  std::optional<uint64_t> weight = ParseNumber(text);
  bool fits = weight.has_value() && *weight >= 1 && *weight <= 10000;
  return fits ? weight : std::nullopt;
}

std::optional<std::vector<uint8_t>> ParseCpuSet(absl::string_view text) {
  std::vector<uint8_t> set;
  for (absl::string_view range :
       absl::StrSplit(text, absl::ByAnyChar(" \t,"), absl::SkipEmpty())) {
    size_t dash = range.find('-');
    std::optional<uint64_t> first = ParseNumber(range.substr(0, dash));
    std::optional<uint64_t> last = first;
    if (dash != absl::string_view::npos) {
      last = ParseNumber(range.substr(dash + 1));
    }
    if (!first.has_value() || !last.has_value() || *first > *last ||
        *last >= kMostCpus) {
      return std::nullopt;
    }
    if (set.size() <= *last / 8) set.resize(*last / 8 + 1);
    for (uint64_t cpu = *first; cpu <= *last; ++cpu) {
      set[cpu / 8] = static_cast<uint8_t>(set[cpu / 8] | 1u << cpu % 8);
    }
  }
  return set;
}

std::optional<std::vector<IpPrefix>> ParsePrefixes(absl::string_view text) {
  std::vector<IpPrefix> prefixes;
  for (const std::string& word : SplitWords(text)) {
    for (const std::string& one : SplitWords(ExpandPrefix(word))) {
      std::optional<IpPrefix> prefix = ParsePrefix(one);
      if (!prefix.has_value()) return std::nullopt;
      prefixes.push_back(*std::move(prefix));
    }
  }
  return prefixes;
}

}  // namespace treekill::systemd
