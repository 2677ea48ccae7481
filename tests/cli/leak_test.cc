// --on-leak and --keep: what becomes of processes that outlive the command, and
// what is said of them.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/cli/leak_fixture.h"
#include "treekill/kernel/fd.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(LeakTest, IsKilledWithoutAWordByDefault) {
  for (const Arguments& options : {Arguments{}, Arguments{"--on-leak=kill"}}) {
    Outcome outcome = RunScript(options, absl::StrCat(kDaemon, "exit 0"));
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
}

TEST_F(LeakTest, WarnSaysWhoAndHow) {
  Outcome outcome =
      RunScript({"--on-leak=warn"}, absl::StrCat(kDaemon, "exit 4"));
  EXPECT_EQ(outcome.exit_code(), 4);
  EXPECT_THAT(outcome.errors,
              ContainsRegex("^treekill: outlived the command: pid [0-9]+ "
                            "\\(sleep 60\\), [0-9a-z.]+ old: new-session, "
                            "reparented\n$"));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(LeakTest, WarnOfWhomNothingButTheParentTells) {
  Outcome outcome =
      RunScript({"--on-leak=warn"}, absl::StrCat(kChild, "exit 0"));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, HasSubstr(" old: reparented\n"));
}

// Its parent has outlived the command, too.
TEST_F(LeakTest, WarnOfOneThatNothingTellsOf) {
  Outcome outcome = RunScript(
      {"--on-leak=warn"},
      absl::StrCat("bash -c '", "sleep 60 & echo >", File("up"), "; wait' & ",
                   "until [ -s ", File("up"), " ]; do :; done; exit 0"));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, HasSubstr(" old: reparented\n"));
  EXPECT_THAT(outcome.errors,
              HasSubstr(" old: in the command's process group\n"));
}

// Of such a process the kernel shows neither arguments nor files in /proc/PID.
TEST_F(LeakTest, WarnKnowsOneWhoseMainThreadHasEnded) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  kernel::UniqueFd reader(fds[0]);
  kernel::UniqueFd writer(fds[1]);
  std::unique_ptr<Program> program = StartScript(
      {"--on-leak=warn"},
      "python3 -c 'import ctypes, threading, time\n"
      "threading.Thread(target=time.sleep, args=(60,)).start()\n"
      "ctypes.CDLL(None).pthread_exit(None)' &\n"
      "until grep -q '^State:.Z' /proc/$!/status; do :; done; exit 0",
      [&writer] { dup2(writer.get(), STDOUT_FILENO); });
  EXPECT_THAT(program->Wait().errors,
              AllOf(HasSubstr("python3 -c import ctypes"),
                    HasSubstr(" old: reparented, holds-stdout\n")));
  EXPECT_EQ(Report()["leaked"][0]["state"], "S");
}

TEST_F(LeakTest, WarnNamesTwentyAndCountsTheRest) {
  Outcome outcome = RunScript({"--on-leak=warn"},
                              "for i in {1..25}; do sleep 60 & done; exit 0");
  std::vector<std::string> lines = absl::StrSplit(outcome.errors, '\n');
  EXPECT_THAT(lines, SizeIs(22));
  EXPECT_EQ(lines[20], "treekill: and 5 more");
}

TEST_F(LeakTest, NothingRawReachesTheTerminal) {
  Outcome outcome = RunScript({"--on-leak=warn"},
                              "(exec -a $'\\e[31mred\\a\\nnext\\xff' "
                              "sleep 60) & until_sleep; exit 0");
  EXPECT_THAT(outcome.errors,
              HasSubstr("\\x1b[31mred\\x07\\x0anext\\xff 60), "));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("\033")));
  EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1);
}

TEST_F(LeakTest, FailIsForCommandsThatSucceed) {
  Outcome leaks =
      RunScript({"--on-leak=fail"}, absl::StrCat(kDaemon, "exit 0"));
  EXPECT_EQ(leaks.exit_code(), 123);
  EXPECT_THAT(leaks.errors, HasSubstr("outlived the command: pid "));
  EXPECT_EQ(Report()["exit_status"], 123);
  Outcome fails =
      RunScript({"--on-leak=fail"}, absl::StrCat(kDaemon, "exit 5"));
  EXPECT_EQ(fails.exit_code(), 5);
  Outcome clean = RunScript({"--on-leak=fail"}, "sleep 0.01 & wait; exit 0");
  EXPECT_EQ(clean.exit_code(), 0);
  EXPECT_EQ(clean.errors, "");
}

TEST_F(LeakTest, FailSeesWhoHasMovedAway) {
  std::string move = absl::StrCat("(echo $BASHPID >", OwnCgroup(),
                                  "/cgroup.procs; exec setsid sleep 60) & "
                                  "until_sleep; exit 0");
  Outcome outcome = RunScript({"--on-leak=fail"}, move);
  EXPECT_EQ(outcome.exit_code(), 123);
  EXPECT_THAT(outcome.errors, HasSubstr(", migrated\n"));
}

TEST_F(LeakTest, KeptOnesLiveOnUntilTheyAreEndedByName) {
  Outcome outcome = RunScript({"--name=kept-one", "--on-leak=keep"},
                              absl::StrCat(kDaemon, kChild, "exit 5"));
  EXPECT_EQ(outcome.exit_code(), 5);
  EXPECT_THAT(
      outcome.errors,
      ContainsRegex("^treekill: kept: [0-9]+ \\(sleep\\), [0-9]+ "
                    "\\(sleep\\); to end it: treekill kill kept-one\n"));
  Json report = Report();
  EXPECT_EQ(report["leaked_count"], 0);
  EXPECT_THAT(report["kept"], SizeIs(2));
  EXPECT_TRUE(report["drained"]);
  EXPECT_THAT(LeftLeaves(), testing::ElementsAre(report["kept_leaf"]));
  EXPECT_THAT(FindByCookie(cookie()), SizeIs(2));
  // It is not what dead supervisors have left.
  EXPECT_EQ(Start({TreekillPath(), "gc", OwnCgroup()})->Wait().output,
            "nothing to collect\n");
  EXPECT_THAT(FindByCookie(cookie()), SizeIs(2));
  Outcome listed = Start({TreekillPath(), "ps", "kept-one"})->Wait();
  EXPECT_THAT(listed.output, HasSubstr("kept"));
  EndKept("kept-one");
}

// It may be why the next command in a pipeline does not end.
TEST_F(LeakTest, OfAKeptOneItIsSaidThatItHoldsTheOutput) {
  std::string script = absl::StrCat(
      "'", TreekillPath(), "' run --name=holder --on-leak=keep bash -c '",
      "sleep 60 & exit 0' > >(cat)");
  Outcome outcome = RunProgram({"bash", "-c", script}, environment());
  EXPECT_THAT(outcome.errors,
              HasSubstr("), with the command's output open; to end it: "
                        "treekill kill holder\n"));
  EXPECT_EQ(Start({TreekillPath(), "kill", "holder"})->Wait().exit_code(), 0);
  // Nobody waits for the reader of its output.
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
}

// Whoever says to end it means all of it.
TEST_F(LeakTest, NobodyIsKeptOfARunThatIsEndedByName) {
  for (const char* keep : {"--on-leak=keep", "--keep=wanted"}) {
    SCOPED_TRACE(keep);
    std::unique_ptr<Program> run = StartScript(
        {"--name=ended", keep},
        absl::StrCat("(trap '' TERM; exec -a wanted sleep 60) & ",
                     "until_sleep; ", "touch ", File("up"), "; sleep 60"));
    ASSERT_TRUE(
        Eventually([&] { return std::filesystem::exists(File("up")); }));
    Outcome outcome =
        Start({TreekillPath(), "kill", "-k", "200ms", "ended"})->Wait();
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(run->Wait().errors, Not(HasSubstr("kept")));
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
    unlink(File("up").c_str());
  }
}

TEST_F(LeakTest, WhoHadLeftIsBroughtBackToBeKept) {
  Outcome outcome =
      RunScript({"--name=back", "--on-leak=keep"},
                absl::StrCat("(echo $BASHPID >", OwnCgroup(), "/cgroup.procs; ",
                             "exec setsid sleep 60) & ", "until_sleep"));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  ASSERT_THAT(Report()["kept"], SizeIs(1));
  EXPECT_THAT(Report()["kept"][0]["cgroup"].get<std::string>(),
              HasSubstr("/treekill-back-"));
  EndKept("back");
}

TEST_F(LeakTest, KeepWithNobodyToKeepLeavesNothing) {
  Outcome outcome = RunScript({"--on-leak=keep", "--keep=ssh-agent"}, "exit 0");
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(Report()["kept_leaf"], nullptr);
}

TEST_F(LeakTest, KeepIsForTheEndOfTheCommandItselfOnly) {
  Outcome outcome =
      RunScript({"--on-leak=keep", "--keep=sleep", "--timeout=500ms"},
                absl::StrCat(kDaemon, "sleep 60"));
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(LeakTest, WhatEndsLaterLeavesACgroupThatGcRemoves) {
  RunScript({"--on-leak=keep"}, "sleep 60 & exit 0");
  KillByCookie(cookie());
  EXPECT_TRUE(Eventually([&] {
    Outcome outcome = Start({TreekillPath(), "gc", OwnCgroup()})->Wait();
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    return LeftLeaves().empty();
  }));
}

TEST_F(LeakTest, ARealSshAgentIsKeptAndTheOthersAreNot) {
  ASSERT_EQ(system("command -v ssh-agent >/dev/null"), 0)
      << "openssh-client is not installed";
  Outcome outcome = RunScript(
      {"--name=agent", "--on-leak=fail", "--keep=ssh-agent"},
      absl::StrCat("ssh-agent -a ", File("socket"), " >", File("variables"),
                   "; ", kDaemon, kChild, "exit 0"));
  // The others have leaked.
  EXPECT_EQ(outcome.exit_code(), 123);
  EXPECT_THAT(outcome.errors,
              ContainsRegex("kept: [0-9]+ \\(ssh-agent\\); to end it: "
                            "treekill kill agent\n"));
  Json report = Report();
  EXPECT_EQ(report["leaked_count"], 2);
  ASSERT_THAT(report["kept"], SizeIs(1));
  EXPECT_EQ(report["kept"][0]["name"], "ssh-agent");
  EXPECT_THAT(FindByCookie(cookie()),
              testing::ElementsAre(report["kept"][0]["pid"]));
  // It works: 1 says that it has no keys, 2 that there is no agent.
  Outcome asked =
      RunProgram({"ssh-add", "-l"}, {{"SSH_AUTH_SOCK", File("socket")}});
  EXPECT_EQ(asked.exit_code(), 1) << asked.errors;
  EndKept("agent");
  asked = RunProgram({"ssh-add", "-l"}, {{"SSH_AUTH_SOCK", File("socket")}});
  EXPECT_EQ(asked.exit_code(), 2);
}

TEST_F(LeakTest, WhoIsBelowAKeptOneIsKept) {
  RunScript({"--name=cache", "--keep=cache-*"},
            absl::StrCat("(exec -a cache-server bash -c 'sleep 60 & "
                         "(sleep 60 &) ; sleep 60 & : >",
                         File("forked"), "; wait') & until [ -e ",
                         File("forked"), " ]; do :; done; sleep 60 & exit 0"));
  // Its two children that live below it; the double fork is the command's.
  EXPECT_THAT(FindByCookie(cookie()), SizeIs(3));
  EndKept("cache");
}

// The command has ended, and its leaf is not the one that they are in.
TEST_F(LeakTest, PsTellsHowOneThatWasSetApartGotAway) {
  RunScript({"--name=apart", "--keep=sleep"}, absl::StrCat(kDaemon, "exit 0"));
  ASSERT_THAT(Report()["kept"], SizeIs(1));
  Outcome listed =
      Start({TreekillPath(), "ps", "--tree", "--json", "apart"})->Wait();
  Json runs = Json::parse(listed.output)["runs"];
  ASSERT_THAT(runs[0]["members"], SizeIs(1)) << listed.output;
  EXPECT_EQ(runs[0]["leader"], nullptr);
  EXPECT_EQ(runs[0]["members"][0]["escapes"], Report()["kept"][0]["escapes"]);
  EXPECT_EQ(runs[0]["members"][0]["escapes"],
            Json({"new-session", "reparented"}));
  EndKept("apart");
}

TEST_F(LeakTest, NobodyIsKeptWithoutACgroup) {
  for (const char* containment : {"subreaper", "process-group", "process"}) {
    for (const char* keep : {"--on-leak=keep", "--keep=ssh-agent"}) {
      Outcome outcome =
          RunScript({keep, absl::StrCat("--containment=", containment)},
                    absl::StrCat("touch ", File("ran")));
      EXPECT_EQ(outcome.exit_code(), 125);
      EXPECT_THAT(outcome.errors,
                  HasSubstr("can be kept in a cgroup only, and it would be "
                            "held by a "));
      EXPECT_FALSE(std::filesystem::exists(File("ran")));
    }
  }
}

TEST_F(LeakTest, BadValuesAreRefused) {
  for (const char* option :
       {"--on-leak=never", "--on-leak=wait=soon", "--on-leak=", "--keep="}) {
    Outcome outcome = Run({option, "--", "touch", File("ran")});
    EXPECT_EQ(outcome.exit_code(), 125) << option;
    EXPECT_THAT(outcome.errors, testing::StartsWith("treekill: invalid --"));
    EXPECT_FALSE(std::filesystem::exists(File("ran")));
  }
}

}  // namespace
}  // namespace treekill::rig
