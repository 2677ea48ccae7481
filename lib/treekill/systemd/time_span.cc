#include "treekill/systemd/time_span.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

namespace treekill::systemd {
namespace {

constexpr uint64_t kSecond = 1000000;

struct Unit {
  const char* name;
  uint64_t microseconds;
};

constexpr Unit kUnits[] = {
    {"", kSecond},
    {"us", 1},
    {"usec", 1},
    {"\xc2\xb5s", 1},
    {"ms", 1000},
    {"msec", 1000},
    {"s", kSecond},
    {"sec", kSecond},
    {"second", kSecond},
    {"seconds", kSecond},
    {"m", 60 * kSecond},
    {"min", 60 * kSecond},
    {"minute", 60 * kSecond},
    {"minutes", 60 * kSecond},
    {"h", 3600 * kSecond},
    {"hr", 3600 * kSecond},
    {"hour", 3600 * kSecond},
    {"hours", 3600 * kSecond},
    {"d", 86400 * kSecond},
    {"day", 86400 * kSecond},
    {"days", 86400 * kSecond},
    {"w", 604800 * kSecond},
    {"week", 604800 * kSecond},
    {"weeks", 604800 * kSecond},
    // A twelfth of a year, and a year of 365.25 days.
    {"M", 2629800 * kSecond},
    {"month", 2629800 * kSecond},
    {"months", 2629800 * kSecond},
    {"y", 31557600 * kSecond},
    {"year", 31557600 * kSecond},
    {"years", 31557600 * kSecond},
};

const Unit* FindUnit(absl::string_view name) {
  for (const Unit& unit : kUnits) {
    if (name == unit.name) return &unit;
  }
  return nullptr;
}

bool IsOfNumber(char c) { return absl::ascii_isdigit(c) || c == '.'; }

// Takes the front of `text` up to where the kind of character changes.
absl::string_view Take(absl::string_view* text, bool number) {
  size_t size = 0;
  while (size < text->size() && IsOfNumber((*text)[size]) == number &&
         !absl::ascii_isspace((*text)[size])) {
    ++size;
  }
  absl::string_view taken = text->substr(0, size);
  text->remove_prefix(size);
  *text = absl::StripLeadingAsciiWhitespace(*text);
  return taken;
}

}  // namespace

std::optional<uint64_t> ParseTimeSpan(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text == "infinity") return kForever;
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    double number = 0;
    if (!absl::SimpleAtod(Take(&text, true), &number)) return std::nullopt;
    const Unit* unit = FindUnit(Take(&text, false));
    if (unit == nullptr) return std::nullopt;
    total += number * static_cast<double>(unit->microseconds);
  }
  // The first double that is no uint64_t.
  if (total >= 18446744073709551616.0) return std::nullopt;
  return static_cast<uint64_t>(total + 0.5);
}

}  // namespace treekill::systemd
