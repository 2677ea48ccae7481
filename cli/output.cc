#include "cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "treekill/error.h"

namespace treekill::cli {
namespace {

Patience message_patience;
bool message_was_dropped = false;

// The length of the UTF-8 sequence at `start`; 0 when there is none, or when
// it is a control character of the C1 set, which terminals obey as well.
size_t Utf8Length(const std::string& text, size_t start) {
  unsigned char first = text[start];
  size_t length = first >= 0xf0 && first < 0xf5   ? 4
                  : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xc2 && first < 0xe0 ? 2
                                                  : 0;
  if (length == 0 || start + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    unsigned char byte = text[start + i];
    if (byte < 0x80 || byte > 0xbf) return 0;
  }
  // Overlong forms, surrogates, and what is beyond Unicode.
  unsigned char second = text[start + 1];
  bool valid =
      !(first == 0xc2 && second < 0xa0) && !(first == 0xe0 && second < 0xa0) &&
      !(first == 0xed && second > 0x9f) && !(first == 0xf0 && second < 0x90) &&
      !(first == 0xf4 && second > 0x8f);
  return valid ? length : 0;
}

// Is it one that shows nothing, but turns the line around, breaks it, or joins
// what is beside it? Unicode's categories Cf, Zl and Zp, as far as they are in
// use.
bool IsFormatCharacter(const std::string& text, size_t start, size_t length) {
  struct Range {
    uint32_t first;
    uint32_t last;
  };
  constexpr Range kFormats[] = {
      {0xad, 0xad},      {0x600, 0x605},   {0x61c, 0x61c},   {0x6dd, 0x6dd},
      {0x70f, 0x70f},    {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},
      {0x2060, 0x206f},  {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0x1d173, 0x1d17a},
      {0xe0000, 0xe007f}};
  unsigned char first = text[start];
  uint32_t value = first & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    value = (value << 6) | (text[start + i] & 0x3f);
  }
  return std::any_of(std::begin(kFormats), std::end(kFormats),
                     [value](const Range& range) {
                       return value >= range.first && value <= range.last;
                     });
}

}  // namespace

// In one write, so that lines of several processes do not mix. There is nobody
// to tell when it fails.
void Message(const std::string& text) {
  std::string line = absl::StrCat("treekill: ", Printable(text), "\n");
  Patience patience = message_patience;
  if (message_was_dropped) patience.time = absl::ZeroDuration();
  message_was_dropped = WriteWithin(STDERR_FILENO, line, patience) == ETIMEDOUT;
}

void LimitMessages(const Patience& patience) {
  message_patience = patience;
  message_was_dropped = false;
}

std::string Printable(const std::string& text) {
  std::string printable;
  for (size_t i = 0; i < text.size();) {
    unsigned char byte = text[i];
    if (byte >= 0x20 && byte < 0x7f) {
      printable += text[i++];
      continue;
    }
    size_t length = Utf8Length(text, i);
    if (length > 0 && !IsFormatCharacter(text, i, length)) {
      printable.append(text, i, length);
      i += length;
      continue;
    }
    for (size_t end = i + std::max<size_t>(length, 1); i < end; ++i) {
      byte = text[i];
      printable += absl::StrCat("\\x", absl::Hex(byte, absl::kZeroPad2));
    }
  }
  return printable;
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", Printable(text), "'");
}

std::string Names(const std::vector<Member>& members) {
  constexpr size_t kMost = 20;
  size_t count = std::min(members.size(), kMost);
  std::string names =
      absl::StrJoin(members.begin(), members.begin() + count, ", ",
                    [](std::string* out, const Member& member) {
                      absl::StrAppend(out, member.pid, " (", member.name, ")");
                    });
  if (members.size() <= kMost) return names;
  return absl::StrCat(names, ", and ", members.size() - kMost, " more");
}

std::string SurvivorText(const Member& member) {
  return absl::StrCat(
      "pid ", member.pid, " (", member.name, ") survives SIGKILL: state ",
      std::string(1, member.state), member.wait_channel.empty() ? "" : " in ",
      member.wait_channel);
}

std::string EscapesOf(const Member& member) {
  return absl::StrJoin(
      member.escapes, ", ",
      [](std::string* out, Escape escape) { out->append(EscapeName(escape)); });
}

std::string ReasonOf(const absl::Status& status) {
  absl::string_view message = status.message();
  std::string hint = HintOf(status);
  if (!hint.empty()) absl::ConsumeSuffix(&message, absl::StrCat("; ", hint));
  return std::string(message);
}

int Fail(const absl::Status& status) {
  Message(std::string(status.message()));
  return kOwnFailure;
}

int PrintToStdout(const std::string& text) {
  if (fputs(text.c_str(), stdout) < 0 || fflush(stdout) != 0) {
    Message("cannot write to standard output");
    return kOwnFailure;
  }
  return 0;
}

}  // namespace treekill::cli
