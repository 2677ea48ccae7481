#include "cli/run_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

namespace treekill::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<RunCommandLine> Parse(std::vector<std::string> words) {
  words.insert(words.begin(), "run");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return ParseRunCommandLine(static_cast<int>(words.size()), argv.data());
}

// The one line that the user gets.
std::string ErrorOf(const std::vector<std::string>& words) {
  absl::StatusOr<RunCommandLine> line = Parse(words);
  if (line.ok()) return "";
  EXPECT_TRUE(absl::IsInvalidArgument(line.status())) << line.status();
  std::string text(line.status().message());
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return text;
}

TEST(ParseRunCommandLine, Defaults) {
  absl::StatusOr<RunCommandLine> line = Parse({"make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->command, ElementsAre("make"));
  EXPECT_FALSE(line->help || line->verbose || line->preserve_status);
  EXPECT_EQ(line->timeout, absl::InfiniteDuration());
  EXPECT_EQ(line->kill_after, absl::Seconds(5));
  EXPECT_EQ(line->signal, SIGTERM);
  EXPECT_EQ(line->kill_mode, KillMode::kControlGroup);
  EXPECT_EQ(line->containment, Containment::kAuto);
  EXPECT_EQ(line->require, Containment::kAuto);
  EXPECT_EQ(line->name + line->directory + line->report, "");
  EXPECT_EQ(line->guardian, GuardianChoice::kYes);
  EXPECT_EQ(line->journal, JournalChoice::kAuto);
  EXPECT_FALSE(line->die_with_parent);
  EXPECT_EQ(line->lifeline, -1);
}

TEST(ParseRunCommandLine, WhatIsDoneFirstAtATimeout) {
  absl::StatusOr<RunCommandLine> line = Parse({"make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->dump, "");
  EXPECT_EQ(line->timeout_signal_first, 0);
  line = Parse({"--dump-on-timeout", "--timeout-signal-first=QUIT", "make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->command, ElementsAre("make"));
  EXPECT_EQ(line->dump, kDumpToErrors);
  EXPECT_EQ(line->timeout_signal_first, SIGQUIT);
  line = Parse({"--dump-on-timeout=file", "make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->dump, "file");
  EXPECT_THAT(ErrorOf({"--timeout-signal-first=x", "make"}),
              HasSubstr("--timeout-signal-first 'x'"));
}

TEST(ParseRunCommandLine, WhatTheRunDependsOn) {
  absl::StatusOr<RunCommandLine> line =
      Parse({"--guardian=try", "--die-with-parent", "--lifeline=7", "make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->guardian, GuardianChoice::kTry);
  EXPECT_TRUE(line->die_with_parent);
  EXPECT_EQ(line->parent, 0);
  EXPECT_EQ(line->lifeline, 7);
  // The value is optional: the next word is not it.
  line = Parse({"--die-with-parent", "123"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->command, ElementsAre("123"));
  line = Parse({"--die-with-parent=123", "make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->parent, 123);
}

TEST(ParseRunCommandLine, NumbersThatAreNone) {
  for (const char* word :
       {"--die-with-parent=0", "--die-with-parent=-1", "--die-with-parent=x",
        "--lifeline=", "--lifeline=-1", "--lifeline=0x3", "--lifeline= 3",
        "--lifeline=99999999999", "--guardian=maybe",
        "--guardian=", "--journal=maybe"}) {
    EXPECT_THAT(ErrorOf({word, "make"}), HasSubstr("it takes")) << word;
  }
}

TEST(ParseRunCommandLine, LongOptions) {
  absl::StatusOr<RunCommandLine> line =
      Parse({"--timeout=1min 30s", "--kill-after", "2s", "--signal=INT",
             "--kill-mode=mixed", "--preserve-status",
             "--containment=process-group", "--require=process", "--name=build",
             "--chdir=/tmp", "--report=fd:3", "--verbose", "make", "check"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->timeout, absl::Seconds(90));
  EXPECT_EQ(line->kill_after, absl::Seconds(2));
  EXPECT_EQ(line->signal, SIGINT);
  EXPECT_EQ(line->kill_mode, KillMode::kMixed);
  EXPECT_TRUE(line->preserve_status);
  EXPECT_EQ(line->containment, Containment::kProcessGroup);
  EXPECT_EQ(line->require, Containment::kProcess);
  EXPECT_EQ(line->name, "build");
  EXPECT_EQ(line->directory, "/tmp");
  EXPECT_EQ(line->report, "fd:3");
  EXPECT_TRUE(line->verbose);
  EXPECT_THAT(line->command, ElementsAre("make", "check"));
}

TEST(ParseRunCommandLine, ShortOptions) {
  absl::StatusOr<RunCommandLine> line =
      Parse({"-k5m", "-s", "9", "-vC", "/tmp", "make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->kill_after, absl::Minutes(5));
  EXPECT_EQ(line->signal, SIGKILL);
  EXPECT_TRUE(line->verbose);
  EXPECT_EQ(line->directory, "/tmp");
  EXPECT_THAT(line->command, ElementsAre("make"));
}

TEST(ParseRunCommandLine, TheCommandsOwnOptionsAreItsOwn) {
  absl::StatusOr<RunCommandLine> line =
      Parse({"-v", "ls", "-v", "--timeout=x", "--help", "--", "-k"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_FALSE(line->help);
  EXPECT_THAT(line->command,
              ElementsAre("ls", "-v", "--timeout=x", "--help", "--", "-k"));
}

TEST(ParseRunCommandLine, TwoDashesEndTheOptions) {
  absl::StatusOr<RunCommandLine> line = Parse({"-v", "--", "-x", "--", "y"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_TRUE(line->verbose);
  EXPECT_THAT(line->command, ElementsAre("-x", "--", "y"));
}

TEST(ParseRunCommandLine, WordsThatOnlyLookLikeOptions) {
  absl::StatusOr<RunCommandLine> line = Parse({"-", "-v"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->command, ElementsAre("-", "-v"));
  line = Parse({"", "-v"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->command, ElementsAre("", "-v"));
}

TEST(ParseRunCommandLine, AZeroTimeoutIsNoneAsForTimeout) {
  EXPECT_EQ(Parse({"--timeout=0", "make"})->timeout, absl::InfiniteDuration());
  EXPECT_EQ(Parse({"--timeout=inf", "make"})->timeout,
            absl::InfiniteDuration());
  EXPECT_EQ(Parse({"-k0", "make"})->kill_after, absl::ZeroDuration());
}

TEST(ParseRunCommandLine, TheLastOfTheSameOptionCounts) {
  EXPECT_EQ(Parse({"-sINT", "-sHUP", "make"})->signal, SIGHUP);
}

TEST(ParseRunCommandLine, HelpNeedsNoCommand) {
  EXPECT_TRUE(Parse({"--help"})->help);
  EXPECT_TRUE(Parse({"-h"})->help);
}

TEST(ParseRunCommandLine, NothingIsKeptFromOneCallToTheNext) {
  EXPECT_FALSE(Parse({"-v", "--nonsense", "make"}).ok());
  EXPECT_FALSE(Parse({"-vX"}).ok());
  absl::StatusOr<RunCommandLine> line = Parse({"-k3", "make", "-v"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_FALSE(line->verbose);
  EXPECT_THAT(line->command, ElementsAre("make", "-v"));
}

TEST(ParseRunCommandLine, NoCommand) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"--"}, {"-v"}, {"--timeout=1"}}) {
    EXPECT_THAT(ErrorOf(words), HasSubstr("no command"));
  }
}

TEST(ParseRunCommandLine, OptionsThatAreNotKnownAreNamed) {
  EXPECT_THAT(ErrorOf({"--nonsense", "make"}), HasSubstr("'--nonsense'"));
  EXPECT_THAT(ErrorOf({"-v", "--nonsense=1", "make"}), HasSubstr("--nonsense"));
  EXPECT_THAT(ErrorOf({"-X", "make"}), HasSubstr("'-X'"));
  EXPECT_THAT(ErrorOf({"-vX", "make"}), HasSubstr("'-X'"));
}

TEST(ParseRunCommandLine, MissingValuesAreSaidToBeMissing) {
  EXPECT_THAT(ErrorOf({"--timeout"}), HasSubstr("'--timeout' needs a value"));
  EXPECT_THAT(ErrorOf({"-k"}), HasSubstr("'-k' needs a value"));
  EXPECT_THAT(ErrorOf({"-v", "-s"}), HasSubstr("'-s' needs a value"));
}

TEST(ParseRunCommandLine, AnErrorNamesTheOptionAsItWasGiven) {
  EXPECT_THAT(ErrorOf({"--signal"}), HasSubstr("'--signal'"));
  EXPECT_THAT(ErrorOf({"--verbose=1", "make"}), HasSubstr("'--verbose"));
}

// "--verbose" is known; it takes no value.
TEST(ParseRunCommandLine, ValuesThatAnOptionDoesNotTake) {
  for (const char* word : {"--verbose=1", "--help=1", "--preserve-status=no"}) {
    EXPECT_THAT(ErrorOf({word, "make"}), Not(HasSubstr("is not known")));
    EXPECT_NE(ErrorOf({word, "make"}), "");
  }
}

TEST(ParseRunCommandLine, BadValuesAreShownWithWhatWouldDo) {
  EXPECT_THAT(
      ErrorOf({"--timeout=5x", "make"}),
      AllOf(HasSubstr("--timeout"), HasSubstr("'5x'"), HasSubstr("10s")));
  EXPECT_THAT(ErrorOf({"-k", "-1", "make"}), HasSubstr("--kill-after"));
  EXPECT_THAT(ErrorOf({"-sNOPE", "make"}),
              AllOf(HasSubstr("--signal"), HasSubstr("'NOPE'")));
  EXPECT_THAT(ErrorOf({"-s0", "make"}), HasSubstr("--signal"));
  EXPECT_THAT(ErrorOf({"--kill-mode=all", "make"}), HasSubstr("mixed"));
  EXPECT_THAT(ErrorOf({"--containment=x", "make"}), HasSubstr("cgroup"));
  EXPECT_THAT(ErrorOf({"--require=", "make"}), HasSubstr("--require"));
}

TEST(ParseRunCommandLine, WhatIsShownCannotHarmATerminal) {
  std::string error = ErrorOf({"--timeout=\x1b[2J\n", "make"});
  EXPECT_EQ(error.find('\x1b'), std::string::npos) << error;
  error = ErrorOf({"--\x1b[2J\n", "make"});
  EXPECT_EQ(error.find('\x1b'), std::string::npos) << error;
  error = ErrorOf({"-\x9b", "make"});
  EXPECT_EQ(error.find('\x9b'), std::string::npos) << error;
}

TEST(ParseRunCommandLine, Journal) {
  struct Case {
    std::string option;
    JournalChoice choice;
  };
  for (const Case& given :
       std::vector<Case>{{"--journal", JournalChoice::kYes},
                         {"--journal=yes", JournalChoice::kYes},
                         {"--journal=no", JournalChoice::kNo},
                         {"--journal=auto", JournalChoice::kAuto}}) {
    absl::StatusOr<RunCommandLine> line = Parse({given.option, "make"});
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->journal, given.choice) << given.option;
    EXPECT_THAT(line->command, ElementsAre("make"));
  }
}

TEST(ParseRunCommandLine, OnLeak) {
  struct Case {
    std::string option;
    LeakChoice choice;
    absl::Duration wait;
  };
  for (const Case& given : std::vector<Case>{
           {"--on-leak=kill", LeakChoice::kKill, absl::InfiniteDuration()},
           {"--on-leak=warn", LeakChoice::kWarn, absl::InfiniteDuration()},
           {"--on-leak=fail", LeakChoice::kFail, absl::InfiniteDuration()},
           {"--on-leak=wait", LeakChoice::kWait, absl::InfiniteDuration()},
           {"--on-leak=wait=inf", LeakChoice::kWait, absl::InfiniteDuration()},
           {"--on-leak=wait=1min 30s", LeakChoice::kWait, absl::Seconds(90)},
           {"--on-leak=wait=0", LeakChoice::kKill, absl::ZeroDuration()},
           {"--on-leak=keep", LeakChoice::kKeep, absl::InfiniteDuration()}}) {
    absl::StatusOr<RunCommandLine> line = Parse({given.option, "make"});
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->on_leak, given.choice) << given.option;
    EXPECT_EQ(line->leak_wait, given.wait) << given.option;
  }
  for (const char* bad : {"--on-leak=", "--on-leak=wait=", "--on-leak=waits",
                          "--on-leak=wait=-1", "--on-leak=kill=3"}) {
    EXPECT_THAT(ErrorOf({bad, "make"}), HasSubstr("invalid --on-leak")) << bad;
  }
}

TEST(ParseRunCommandLine, KeepMayBeGivenAgain) {
  absl::StatusOr<RunCommandLine> line =
      Parse({"--keep=ssh-agent", "--keep", "*cache*", "make"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->keep, ElementsAre("ssh-agent", "*cache*"));
  EXPECT_THAT(ErrorOf({"--keep=", "make"}), HasSubstr("invalid --keep ''"));
}

}  // namespace
}  // namespace treekill::cli
