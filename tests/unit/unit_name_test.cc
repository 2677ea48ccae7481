#include "treekill/systemd/unit_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace treekill::systemd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string FromUser(const std::string& text, const char* suffix = ".scope") {
  absl::StatusOr<std::string> name = UnitNameFromUser(text, suffix);
  return name.ok() ? *name : absl::StrCat("refused: ", name.status().message());
}

TEST(UnitNameFromUser, AddsASuffixWhereThereIsNone) {
  EXPECT_EQ(FromUser("make"), "make.scope");
  EXPECT_EQ(FromUser("make", ".slice"), "make.slice");
  EXPECT_EQ(FromUser("make-4.2", ".service"), "make-4.2.service");
  EXPECT_EQ(FromUser("a.b"), "a.b.scope");
  EXPECT_EQ(FromUser("a@b", ".service"), "a@b.service");
  EXPECT_EQ(FromUser("a\\x20b"), "a\\x20b.scope");
  EXPECT_EQ(FromUser("a:b_c"), "a:b_c.scope");
}

TEST(UnitNameFromUser, KeepsATypeOfUnit) {
  for (const char* name :
       {"a.scope", "a.service", "a.slice", "a.socket", "a.target", "a.device",
        "a.mount", "a.automount", "a.swap", "a.timer", "a.path",
        "getty@tty1.service", "a-b.slice", "-.slice", "-.mount"}) {
    EXPECT_EQ(FromUser(name), name);
  }
}

TEST(UnitNameFromUser, SaysWhatIsWrong) {
  const std::pair<std::string, const char*> kBad[] = {
      {"", "empty"},
      {".scope", "only a type"},
      {"a b", "escaped, as by systemd-escape, it is 'a\\x20b'"},
      {"a/b", "'/' is not allowed"},
      {std::string("a\nb"), "'\\n' is not allowed"},
      {std::string("a\0b", 3), "'\\x00' is not allowed"},
      {"\xc3\xa4", "is not allowed"},
      {"a*", "pattern"},
      {"a?.scope", "pattern"},
      {"a[b]", "pattern"},
      {"a@", "a scope has no '@'"},
      {"a@.service", "template"},
      {"@a.service", "before the '@'"},
      {"a@b.scope", "a scope has no '@'"},
      {std::string(250, 'x'), "longer than 255"},
  };
  for (const auto& [text, why] : kBad) {
    absl::StatusOr<std::string> name = UnitNameFromUser(text, ".scope");
    ASSERT_FALSE(name.ok()) << text;
    EXPECT_EQ(name.status().code(), absl::StatusCode::kInvalidArgument);
    std::string message(name.status().message());
    EXPECT_THAT(message, HasSubstr(why));
    EXPECT_THAT(message, Not(HasSubstr("\n")));
  }
  EXPECT_EQ(FromUser(std::string(249, 'x')).size(), 255u);
}

TEST(UnitNameFromUser, ASliceIsAPath) {
  for (const char* text : {"-a", "a-", "a--b", "--", "a@b"}) {
    EXPECT_THAT(FromUser(text, ".slice"), HasSubstr("refused")) << text;
  }
  EXPECT_EQ(FromUser("-", ".slice"), "-.slice");
  EXPECT_EQ(FromUser("-a"), "-a.scope");
}

TEST(EscapeForUnitName, KeepsWhatMayStand) {
  EXPECT_EQ(EscapeForUnitName("aZ09:_."), "aZ09:_.");
  EXPECT_EQ(EscapeForUnitName(""), "");
  EXPECT_EQ(EscapeForUnitName(".a"), "\\x2ea");
  EXPECT_EQ(EscapeForUnitName("a/b-c@d\\e f"), "a-b\\x2dc\\x40d\\x5ce\\x20f");
  EXPECT_EQ(EscapeForUnitName(absl::string_view("\0\xff", 2)), "\\x00\\xff");
}

std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "re");
  if (pipe == nullptr) return output;
  for (int c = fgetc(pipe); c != EOF && c != '\n'; c = fgetc(pipe)) {
    output += static_cast<char>(c);
  }
  pclose(pipe);
  return output;
}

TEST(EscapeForUnitName, AsSystemdEscape) {
  if (access("/usr/bin/systemd-escape", X_OK) != 0) {
    GTEST_SKIP() << "no systemd-escape here";
  }
  // It puts a blank between the names of several.
  std::string command = "systemd-escape --";
  std::string expected;
  for (int c = 1; c < 256; ++c) {
    // Neither the shell's quoting nor the end of its line.
    if (c == '\'' || c == '\n') continue;
    std::string text{static_cast<char>(c), static_cast<char>(c), 'x'};
    absl::StrAppend(&command, " '", text, "'");
    absl::StrAppend(&expected, expected.empty() ? "" : " ",
                    EscapeForUnitName(text));
  }
  EXPECT_EQ(OutputOf(command), expected);
}

}  // namespace
}  // namespace treekill::systemd
