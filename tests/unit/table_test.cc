// Tables and trees: nothing wider than the terminal, no character cut in two.
#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/process_tree.h"

namespace treekill::cli {
namespace {

constexpr Style kPipe = {};
constexpr Style kNarrow = {.width = 20, .colours = true, .utf8 = true};

TEST(Columns, OfCharactersThatAreWideOrOnTopOfOthers) {
  EXPECT_EQ(Columns(""), 0u);
  EXPECT_EQ(Columns("abc"), 3u);
  EXPECT_EQ(Columns("äé"), 2u);
  EXPECT_EQ(Columns("漢字"), 4u);
  EXPECT_EQ(Columns("e\u0301"), 1u);
  EXPECT_EQ(Columns("\U0001f600"), 2u);
}

TEST(Cut, NeverWiderAndNeverInACharacter) {
  const std::string text = "aä漢e\u0301\U0001f600z";
  for (bool utf8 : {true, false}) {
    for (size_t width = 0; width <= 10; ++width) {
      std::string cut = Cut(text, width, utf8);
      EXPECT_LE(Columns(cut), width) << cut;
      EXPECT_EQ(cut == text, width >= Columns(text));
      // Whole characters, as they were, and the ellipsis.
      std::string start = cut.substr(0, cut.find(utf8 ? "…" : "..."));
      EXPECT_EQ(text.substr(0, start.size()), start);
      if (start.size() < text.size()) {
        EXPECT_NE(text[start.size()] & 0xc0, 0x80) << cut;
      }
    }
  }
  EXPECT_EQ(Cut("abcdef", 4, true), "abc…");
  EXPECT_EQ(Cut("abcdef", 4, false), "a...");
  EXPECT_EQ(Cut("abcdef", 2, false), "ab");
  EXPECT_EQ(Cut("漢字", 3, true), "漢…");
}

TEST(StyleOfStdout, TheFirstVariableThatIsSetNamesTheLocale) {
  auto is_utf8 = [](const char* all, const char* ctype, const char* lang) {
    setenv("LC_ALL", all, /*overwrite=*/1);
    setenv("LC_CTYPE", ctype, /*overwrite=*/1);
    setenv("LANG", lang, /*overwrite=*/1);
    return StyleOfStdout().utf8;
  };
  EXPECT_TRUE(is_utf8("", "", "de_DE.UTF-8"));
  EXPECT_TRUE(is_utf8("", "en_US.utf8", "C"));
  EXPECT_FALSE(is_utf8("", "C", "C.UTF-8"));
  EXPECT_FALSE(is_utf8("POSIX", "C.UTF-8", "C.UTF-8"));
  EXPECT_FALSE(is_utf8("", "", ""));
}

TEST(CommandText, IsShortAndPrintable) {
  EXPECT_EQ(CommandText("a\nb", {}, kPipe.utf8), R"([a\x0ab])");
  EXPECT_EQ(CommandText("x", {"sh", "-c", "\x1b[2J"}, kPipe.utf8),
            R"(sh -c \x1b[2J)");
  std::string text = CommandText("x", {std::string(100000, 'x')}, kPipe.utf8);
  EXPECT_EQ(text.size(), 4096u);
  EXPECT_TRUE(text.ends_with("x..."));
}

Table TwoColumns() { return Table({{"NAME"}, {"N", true}, {"TEXT"}}); }

TEST(Table, AlignsColumnsByWhatATerminalShows) {
  Table table = TwoColumns();
  EXPECT_EQ(table.ToText(kPipe), "NAME N TEXT\n");
  table.AddRow({"漢字字", "1", "x y"});
  table.AddRow({"a", "234", ""});
  EXPECT_EQ(table.ToText(kPipe),
            "NAME     N TEXT\n"
            "漢字字   1 x y\n"
            "a      234 \n");
}

TEST(Table, CutsRowsAndLines) {
  Table table = TwoColumns();
  table.AddRow({"name", "1", std::string(100, 'x')});
  table.AddLine(std::string(100, 'y'), /*coloured=*/true);
  EXPECT_EQ(table.ToText(kNarrow),
            "NAME N TEXT\nname 1 xxxxxxxxxxxx…\n"
            "\x1b[33myyyyyyyyyyyyyyyyyyy…\x1b[0m\n");
  EXPECT_THAT(table.ToText(kPipe),
              testing::EndsWith(std::string(100, 'y') + "\n"));
}

Member Process(pid_t pid, pid_t parent, std::vector<Escape> escapes = {}) {
  Member member;
  member.pid = pid;
  member.parent = parent;
  member.state = 'S';
  member.argv = {absl::StrCat("p", pid)};
  member.escapes = std::move(escapes);
  return member;
}

std::string Drawn(const std::vector<Member>& members, const Style& style) {
  Table table({{"T"}});
  DrawTree(members, style, &table);
  return table.ToText(style).substr(2);
}

TEST(DrawTree, WhoHasStartedWhom) {
  std::vector<Member> members = {
      Process(10, 1), Process(11, 10),
      Process(12, 10, {Escape::kNewSession, Escape::kIgnoresTerm}),
      Process(13, 11), Process(14, 1, {Escape::kReparented})};
  EXPECT_EQ(Drawn(members, kPipe),
            "|-10 S p10\n"
            "| |-11 S p11\n"
            "| | `-13 S p13\n"
            "| `-12 S p12 [new-session, ignores-term]\n"
            "`-14 S p14 [reparented]\n");
  EXPECT_EQ(Drawn(members, {.utf8 = true}),
            "├─10 S p10\n"
            "│ ├─11 S p11\n"
            "│ │ └─13 S p13\n"
            "│ └─12 S p12 [new-session, ignores-term]\n"
            "└─14 S p14 [reparented]\n");
}

// A number that was reused while the processes were read.
TEST(DrawTree, CirclesAndYoungerParents) {
  EXPECT_EQ(Drawn({Process(10, 11), Process(11, 10), Process(12, 12)}, kPipe),
            "|-10 S p10\n"
            "| `-11 S p11\n"
            "`-12 S p12\n");
}

TEST(DrawTree, AChainOfThousands) {
  std::vector<Member> chain;
  for (pid_t pid = 1; pid <= 20000; ++pid) {
    chain.push_back(Process(pid, pid - 1));
  }
  std::string text = Drawn(chain, kPipe);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 20000);
  EXPECT_LT(text.size(), 20000u * 200);
}

TEST(DrawTree, CutsTheCommandBeforeTheEscapes) {
  Member member = Process(10, 1, {Escape::kReparented});
  member.argv = {std::string(200, 'x')};
  EXPECT_EQ(Drawn({member}, {.width = 40, .utf8 = true}),
            "└─10 S xxxxxxxxxxxxxxxxxxx… [reparented]\n");
}

}  // namespace
}  // namespace treekill::cli
