#include "cli/duration.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace treekill::cli {
namespace {

constexpr std::pair<const char*, absl::Duration (*)()> kUnits[] = {
    {"us", [] { return absl::Microseconds(1); }},
    {"usec", [] { return absl::Microseconds(1); }},
    {"ms", [] { return absl::Milliseconds(1); }},
    {"msec", [] { return absl::Milliseconds(1); }},
    {"s", [] { return absl::Seconds(1); }},
    {"sec", [] { return absl::Seconds(1); }},
    {"second", [] { return absl::Seconds(1); }},
    {"seconds", [] { return absl::Seconds(1); }},
    {"m", [] { return absl::Minutes(1); }},
    {"min", [] { return absl::Minutes(1); }},
    {"minute", [] { return absl::Minutes(1); }},
    {"minutes", [] { return absl::Minutes(1); }},
    {"h", [] { return absl::Hours(1); }},
    {"hr", [] { return absl::Hours(1); }},
    {"hour", [] { return absl::Hours(1); }},
    {"hours", [] { return absl::Hours(1); }},
    {"d", [] { return absl::Hours(24); }},
    {"day", [] { return absl::Hours(24); }},
    {"days", [] { return absl::Hours(24); }},
    {"w", [] { return absl::Hours(24 * 7); }},
    {"week", [] { return absl::Hours(24 * 7); }},
    {"weeks", [] { return absl::Hours(24 * 7); }},
};

std::optional<absl::Duration> UnitOf(absl::string_view name) {
  for (const auto& [unit, length] : kUnits) {
    if (name == unit) return length();
  }
  return std::nullopt;
}

// Takes the longest front of `text` that `belongs` to.
template <typename Predicate>
absl::string_view TakeWhile(absl::string_view* text, Predicate belongs) {
  size_t size = 0;
  while (size < text->size() && belongs((*text)[size])) ++size;
  absl::string_view taken = text->substr(0, size);
  text->remove_prefix(size);
  return taken;
}

}  // namespace

std::optional<absl::Duration> ParseDuration(const std::string& text) {
  absl::string_view rest = absl::StripAsciiWhitespace(text);
  if (rest == "inf" || rest == "infinity") return absl::InfiniteDuration();
  if (rest.empty()) return std::nullopt;
  absl::Duration total;
  while (!rest.empty()) {
    absl::string_view digits = TakeWhile(
        &rest, [](char c) { return absl::ascii_isdigit(c) || c == '.'; });
    double number = 0;
    if (!absl::SimpleAtod(digits, &number)) return std::nullopt;
    rest = absl::StripLeadingAsciiWhitespace(rest);
    absl::string_view name =
        TakeWhile(&rest, [](char c) { return absl::ascii_isalpha(c); });
    // Only a number that stands alone is in seconds, as "1 30s" would hide a
    // typing error.
    bool alone = rest.empty() && total == absl::ZeroDuration();
    std::optional<absl::Duration> unit = UnitOf(name);
    if (!unit.has_value() && (!name.empty() || !alone)) return std::nullopt;
    absl::Duration part = number * unit.value_or(absl::Seconds(1));
    // Less than can be held is not 0, which means "never" to --timeout.
    if (number > 0) part = std::max(part, absl::Nanoseconds(1));
    total += part;
    rest = absl::StripLeadingAsciiWhitespace(rest);
  }
  if (total == absl::InfiniteDuration()) return std::nullopt;
  return total;
}

}  // namespace treekill::cli
