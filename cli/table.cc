#include "cli/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

constexpr char kColour[] = "\x1b[33m";
constexpr char kNoColour[] = "\x1b[0m";
constexpr size_t kLongestCommand = 4096;

std::string Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

bool IsUtf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = absl::AsciiStrToLower(Variable(name));
    if (value.empty()) continue;
    return absl::StrContains(value, "utf-8") ||
           absl::StrContains(value, "utf8");
  }
  return false;
}

size_t WidthOfTerminal() {
  size_t width = 0;
  if (absl::SimpleAtoi(Variable("COLUMNS"), &width) && width > 0) return width;
  winsize size{};
  bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

struct Range {
  char32_t first;
  char32_t last;
};

bool IsIn(char32_t character, const std::vector<Range>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range& range) {
    return character >= range.first && character <= range.last;
  });
}

// Roughly as wcwidth(3), which would need a locale that may not be installed.
size_t WidthOf(char32_t character) {
  if (character < 0x300) return 1;
  static const auto* const kOnTop = new std::vector<Range>{
      {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},    {0x610, 0x61a},
      {0x64b, 0x65f},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},  {0x200b, 0x200f},
      {0x202a, 0x202e}, {0x2060, 0x206f}, {0x20d0, 0x20ff},  {0xfe00, 0xfe0f},
      {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef}};
  static const auto* const kWide = new std::vector<Range>{
      {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},
      {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
      {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f},
      {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
  if (IsIn(character, *kOnTop)) return 0;
  return IsIn(character, *kWide) ? 2 : 1;
}

// One character of printable text, which is UTF-8.
struct Character {
  size_t bytes = 1;
  size_t columns = 1;
};

Character CharacterAt(const std::string& text, size_t start) {
  unsigned char first = text[start];
  if (first < 0x80) return {};
  size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  char32_t value = first & (0xff >> (bytes + 1));
  for (size_t i = start + 1; i < std::min(start + bytes, text.size()); ++i) {
    value = (value << 6) | (text[i] & 0x3f);
  }
  return {bytes, WidthOf(value)};
}

// The longest beginning that fits.
std::string FirstColumns(const std::string& text, size_t width) {
  size_t columns = 0;
  for (size_t i = 0; i < text.size();) {
    Character next = CharacterAt(text, i);
    columns += next.columns;
    if (columns > width) return text.substr(0, i);
    i += next.bytes;
  }
  return text;
}

}  // namespace

Style StyleOfStdout() {
  Style style{.utf8 = IsUtf8Locale()};
  if (isatty(STDOUT_FILENO) == 0) return style;
  style.width = WidthOfTerminal();
  style.colours = Variable("NO_COLOR").empty() && Variable("TERM") != "dumb" &&
                  !Variable("TERM").empty();
  return style;
}

size_t Columns(const std::string& text) {
  size_t columns = 0;
  for (size_t i = 0; i < text.size();) {
    Character next = CharacterAt(text, i);
    columns += next.columns;
    i += next.bytes;
  }
  return columns;
}

std::string Cut(const std::string& text, size_t width, bool utf8) {
  std::string whole = FirstColumns(text, width);
  if (whole.size() == text.size()) return whole;
  std::string ellipsis = utf8 ? "\u2026" : "...";
  size_t room = utf8 ? 1 : 3;
  if (width <= room) return whole;
  return FirstColumns(text, width - room) + ellipsis;
}

std::string CommandText(const std::string& name,
                        const std::vector<std::string>& argv, bool utf8) {
  std::string text =
      argv.empty() ? absl::StrCat("[", name, "]") : absl::StrJoin(argv, " ");
  return Cut(Printable(text), kLongestCommand, utf8);
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  AddRow(std::move(titles));
}

void Table::AddRow(std::vector<std::string> cells) {
  lines_.push_back({.cells = std::move(cells)});
}

void Table::AddLine(std::string text, bool coloured) {
  lines_.push_back(
      {.cells = {std::move(text)}, .is_row = false, .coloured = coloured});
}

std::string Table::ToText(const Style& style) const {
  std::vector<size_t> widths(columns_.size(), 0);
  for (const Line& line : lines_) {
    for (size_t i = 0; line.is_row && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], Columns(line.cells[i]));
    }
  }
  std::string table;
  for (const Line& line : lines_) {
    std::string text;
    for (size_t i = 0; i < line.cells.size(); ++i) {
      const std::string& cell = line.cells[i];
      size_t free = line.is_row ? widths[i] - Columns(cell) : 0;
      bool is_last = i + 1 == line.cells.size();
      std::string before(columns_[i].to_the_right ? free : 0, ' ');
      std::string after(is_last ? 0 : free - before.size() + 1, ' ');
      absl::StrAppend(&text, before, cell, after);
    }
    if (style.width > 0) text = Cut(text, style.width, style.utf8);
    bool coloured = line.coloured && style.colours;
    absl::StrAppend(&table, coloured ? kColour : "", text,
                    coloured ? kNoColour : "", "\n");
  }
  return table;
}

}  // namespace treekill::cli
