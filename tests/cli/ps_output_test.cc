// What `treekill ps` does to a terminal, and to a pipe.
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/table.h"
#include "tests/cli/runs_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::ResultOf;

using Variables = std::map<std::string, std::string>;

const Variables kAscii = {{"TERM", "xterm"}, {"LC_ALL", "C"}};
const Variables kUtf8 = {{"TERM", "xterm"}, {"LC_ALL", "C.UTF-8"}};

// Of what a terminal shows, without colours.
std::vector<std::string> LinesOf(std::string text) {
  for (size_t start; (start = text.find('\x1b')) != std::string::npos;) {
    text.erase(start, text.find('m', start) + 1 - start);
  }
  std::vector<std::string> lines = absl::StrSplit(text, "\r\n");
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  return lines;
}

class PsOutputTest : public RunsTest {
 protected:
  void SetUp() override {
    RunsTest::SetUp();
    if (IsSkipped()) return;
    program_ = StartNamed(
        Name(),
        "sh -c 'setsid sleep 600 & >ready; exec sleep 600' "
        "a-long-name-of-a-command-that-needs-more-than-forty-columns; :");
  }
  void TearDown() override {
    if (program_ != nullptr) {
      program_->Signal(SIGTERM);
      program_->Wait();
    }
    RunsTest::TearDown();
  }

 private:
  std::unique_ptr<Program> program_;
};

TEST_F(PsOutputTest, IsCutAtTheWidthOfTheTerminal) {
  for (const Variables& variables : {kAscii, kUtf8}) {
    for (const char* option : {"--tree", "--"}) {
      std::vector<std::string> lines =
          LinesOf(InTerminal({"ps", option, Name()}, 40, variables));
      ASSERT_GE(lines.size(), 2u);
      EXPECT_THAT(lines, Each(ResultOf(cli::Columns, Le(40u))));
      EXPECT_EQ(cli::Columns(lines[1]), 40u);
      bool is_utf8 = variables.at("LC_ALL") == "C.UTF-8";
      EXPECT_TRUE(lines[1].ends_with(is_utf8 ? "…" : "...")) << lines[1];
    }
  }
}

TEST_F(PsOutputTest, ColumnsOverridesTheTerminal) {
  Variables variables = kUtf8;
  variables["COLUMNS"] = "30";
  EXPECT_EQ(cli::Columns(LinesOf(InTerminal({"ps", Name()}, 40, variables))[1]),
            30u);
  variables["COLUMNS"] = "nonsense";
  EXPECT_EQ(cli::Columns(LinesOf(InTerminal({"ps", Name()}, 40, variables))[1]),
            40u);
}

TEST_F(PsOutputTest, IsNotCutInAPipe) {
  auto program = Start({"env", "COLUMNS=20", TreekillPath(), "ps", Name()});
  EXPECT_THAT(program->Wait().output, HasSubstr("STATE   COMMAND\n"));
}

TEST_F(PsOutputTest, EscapesAreColouredOnATerminalOnly) {
  const Arguments kTree = {"ps", "--tree", Name()};
  std::string text = InTerminal(kTree, 200, kUtf8);
  std::vector<std::string> lines = absl::StrSplit(text, "\r\n");
  for (const std::string& line : lines) {
    bool has_escaped = line.find("[new-session]") != std::string::npos;
    EXPECT_EQ(line.find("\x1b[33m") != std::string::npos, has_escaped) << line;
    EXPECT_EQ(line.ends_with("\x1b[0m"), has_escaped) << line;
  }
  EXPECT_THAT(text, HasSubstr("[new-session]"));
  Variables no_colour = kUtf8;
  no_colour["NO_COLOR"] = "1";
  Variables dumb = kUtf8;
  dumb["TERM"] = "dumb";
  for (const Variables& variables : {no_colour, dumb}) {
    EXPECT_THAT(InTerminal(kTree, 200, variables),
                AllOf(HasSubstr("[new-session]"), Not(HasSubstr("\x1b"))));
  }
  Variables empty = kUtf8;
  empty["NO_COLOR"] = "";
  EXPECT_THAT(InTerminal(kTree, 200, empty), HasSubstr("\x1b[33m"));
  EXPECT_THAT(Treekill(kTree).output,
              AllOf(HasSubstr("[new-session]"), Not(HasSubstr("\x1b"))));
}

// The rest of the command is cut before the escapes are.
TEST_F(PsOutputTest, EscapesAreSeenInANarrowTerminal) {
  EXPECT_THAT(InTerminal({"ps", "--tree", Name()}, 40, kAscii),
              HasSubstr("[new-session]"));
}

TEST_F(PsOutputTest, NobodyReadsIt) {
  Outcome outcome = Treekill({"ps"}, [] { close(STDOUT_FILENO); });
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_EQ(outcome.errors, "treekill: cannot write to standard output\n");
}

class HostileTest : public RunsTest {
 protected:
  // Runs bash with these arguments, and its name set, until `done`.
  std::unique_ptr<Program> StartHostile(const std::string& setup) {
    return StartNamed(Name(), setup);
  }

  void ExpectHarmless(const std::string& text, size_t lines) {
    for (unsigned char c : text) {
      EXPECT_TRUE(c == '\n' || c >= 0x20) << static_cast<int>(c);
      EXPECT_NE(c, 0x7f);
    }
    EXPECT_EQ(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')),
              lines);
  }
};

TEST_F(HostileTest, EscapeSequencesInArgumentsAndNames) {
  std::unique_ptr<Program> program = StartHostile(
      "ln -s $(command -v sleep) $'a\\e[2J\\nb\\x9b\\xff'\n"
      "PATH=.:$PATH; $'a\\e[2J\\nb\\x9b\\xff' 600 &\n"
      "bash -c '>ready; sleep 600; :' $'\\e]0;forged\\a' $'x\\ny\\r' "
      "$'\\x9b31m' $'\\xff\\xfe' $'\\xc2\\x9b'\n");
  ASSERT_TRUE(Eventually([&] { return RunOf(Name())["member_count"] == 4; }));
  ExpectHarmless(Treekill({"ps", Name()}).output, 2);
  Outcome tree = Treekill({"ps", "--tree", Name()});
  ExpectHarmless(tree.output, 6);
  EXPECT_THAT(tree.output,
              HasSubstr(R"(\x1b]0;forged\x07 x\x0ay\x0d \x9b31m \xff\xfe)"));
  EXPECT_THAT(tree.output, HasSubstr(R"(a\x1b[2J\x0ab\x9b\xff 600)"));
  ExpectHarmless(Treekill({"ps", "--json", "--tree", Name()}).output, 1);
  std::string terminal = InTerminal({"ps", "--tree", Name()}, 200, kUtf8);
  EXPECT_THAT(LinesOf(terminal), testing::SizeIs(6));
  program->Signal(SIGTERM);
  program->Wait();
}

TEST_F(HostileTest, TwoMebibytesOfArguments) {
  // One argument has 128 KiB at most.
  std::unique_ptr<Program> program = StartHostile(
      "ulimit -s unlimited\n"
      "x=$(head -c 120000 /dev/zero | tr '\\0' 'x')\n"
      "bash -c '>ready; sleep 600; :' \"$x\" \"$x\" \"$x\" \"$x\" \"$x\" "
      "\"$x\" \"$x\" \"$x\" \"$x\" \"$x\" \"$x\" \"$x\" \"$x\" \"$x\" \"$x\" "
      "\"$x\" \"$x\"\n");
  nlohmann::json members = RunOf(Name(), {"--tree"})["members"];
  ASSERT_GE(members.size(), 2u);
  EXPECT_EQ(members[1]["command_truncated"], true);
  std::string leader = absl::StrCat(members[1]["pid"].get<pid_t>());
  Outcome outcome = Treekill({"ps", "--tree", Name()});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.output, HasSubstr(leader + " S bash -c"));
  EXPECT_THAT(outcome.output, HasSubstr("xxx...\n"));
  EXPECT_LT(outcome.output.size(), 8192u);
  program->Signal(SIGTERM);
  program->Wait();
}

}  // namespace
}  // namespace treekill::rig
