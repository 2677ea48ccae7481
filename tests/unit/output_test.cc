#include "cli/output.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "treekill/kernel/error.h"

namespace treekill::cli {
namespace {

TEST(Printable, PlainTextStays) {
  for (const char* text : {"", "make -j8", "a\\b'c\"d", "~!@#$%^&*()"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(Printable, Utf8Stays) {
  for (const char* text :
       {"gr\xc3\xbc\xc3\x9f", "\xe2\x82\xac", "\xf0\x9f\x8c\xb3", "\xc2\xa0"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(Printable, EscapeSequences) {
  EXPECT_EQ(Printable("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(Printable("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
  EXPECT_EQ(Printable("a\r\nb\tc\bd\x7f"), "a\\x0d\\x0ab\\x09c\\x08d\\x7f");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a\\x00b");
}

// U+009B is a control sequence introducer by itself.
TEST(Printable, ControlCharactersOfTheC1Set) {
  EXPECT_EQ(Printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J");
  EXPECT_EQ(Printable("\xc2\x80\xc2\x9f"), "\\xc2\\x80\\xc2\\x9f");
  EXPECT_EQ(Printable("\x9b"
                      "2J"),
            "\\x9b2J");
}

// A name with U+202E in it is shown backwards, with U+200B it looks like
// another.
TEST(Printable, CharactersThatShowNothing) {
  EXPECT_EQ(Printable("a\u202egnp.exe"), "a\\xe2\\x80\\xaegnp.exe");
  EXPECT_EQ(Printable("s\u200bh"), "s\\xe2\\x80\\x8bh");
  EXPECT_EQ(Printable("\u00ad\ufeff\u2028\U000e0041"),
            "\\xc2\\xad\\xef\\xbb\\xbf\\xe2\\x80\\xa8\\xf3\\xa0\\x81\\x81");
}

TEST(Printable, WhatIsNotUtf8) {
  EXPECT_EQ(Printable("\xff"), "\\xff");
  EXPECT_EQ(Printable("a\x80z"), "a\\x80z");
  EXPECT_EQ(Printable("\xc3"), "\\xc3");
  EXPECT_EQ(Printable("\xc3z"), "\\xc3z");
  EXPECT_EQ(Printable("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(Printable("\xf0\x9f\x8c"), "\\xf0\\x9f\\x8c");
  EXPECT_EQ(Printable("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80");
}

// A lenient terminal decodes them to what their short forms mean: ESC, CSI.
TEST(Printable, OverlongFormsAndSurrogates) {
  EXPECT_EQ(Printable("\xc0\x9b"), "\\xc0\\x9b");
  EXPECT_EQ(Printable("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");
  EXPECT_EQ(Printable("\xe0\x82\x9b"), "\\xe0\\x82\\x9b");
  EXPECT_EQ(Printable("\xf0\x80\x80\x9b"), "\\xf0\\x80\\x80\\x9b");
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(Printable, NothingOfAnyByteIsAControlCharacter) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    for (int j = 0; j < 256; ++j) {
      bytes += static_cast<char>(i);
      bytes += static_cast<char>(j);
    }
  }
  for (unsigned char byte : Printable(bytes)) {
    EXPECT_TRUE(byte >= 0x20 && byte != 0x7f) << int{byte};
  }
}

TEST(Names, TwentyAndHowManyMore) {
  std::vector<Member> members(20, Member{.pid = 7, .name = "x"});
  EXPECT_FALSE(absl::StrContains(Names(members), "more"));
  members.resize(23);
  EXPECT_TRUE(absl::EndsWith(Names(members), "7 (x), and 3 more"));
}

TEST(SurvivorText, SaysWhereItHangs) {
  Member member{.pid = 7, .name = "cp", .state = 'D'};
  EXPECT_EQ(SurvivorText(member), "pid 7 (cp) survives SIGKILL: state D");
  member.wait_channel = "nfs_wait";
  EXPECT_EQ(SurvivorText(member),
            "pid 7 (cp) survives SIGKILL: state D in nfs_wait");
}

TEST(ReasonOf, IsWithoutTheHint) {
  absl::Status status = absl::UnavailableError("no bus");
  EXPECT_EQ(ReasonOf(status), "no bus");
  EXPECT_EQ(ReasonOf(kernel::WithHint(status, "start one")), "no bus");
}

TEST(Quoted, InSingleQuotes) {
  EXPECT_EQ(Quoted("make"), "'make'");
  EXPECT_EQ(Quoted(""), "''");
  EXPECT_EQ(Quoted("\n"), "'\\x0a'");
}

}  // namespace
}  // namespace treekill::cli
