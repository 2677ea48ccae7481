// --on-leak=wait: for which processes it waits, and what ends that.
#include <csignal>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/cli/leak_fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LeakWaitTest : public LeakTest {
 protected:
  // In a script: to end, after the command, when there is `go`.
  std::string MakeDoneAfterGo() const {
    return absl::StrCat("until [ -e ", File("go"), " ]; do sleep 0.02; done; ",
                        "touch ", File("done"));
  }
  std::string ExitWith(int code) const {
    return absl::StrCat("echo $$ >", File("leader"), "; exit ", code);
  }

  // Waits until the command has ended, and treekill waits for the others.
  void AwaitLeaderlessWait(const Program& run) {
    EXPECT_TRUE(Eventually([&] {
      return Read("leader").ends_with('\n') &&
             !std::filesystem::exists(
                 absl::StrCat("/proc/", std::stoi(Read("leader")), "/exe")) &&
             SleepsIn(run.pid(), "poll");
    }));
  }

  // Starts the script, and lets its `done` come when treekill waits for that.
  Outcome RunUntilDone(Arguments options, const std::string& script) {
    for (const char* name : {"go", "done", "leader"}) {
      unlink(File(name).c_str());
    }
    std::unique_ptr<Program> run = StartScript(std::move(options), script);
    AwaitLeaderlessWait(*run);
    EXPECT_FALSE(std::filesystem::exists(File("done")));
    WriteAll(File("go"), "");
    return run->Wait();
  }
};

TEST_F(LeakWaitTest, WaitIsForTheTreeToEmpty) {
  Outcome outcome = RunUntilDone(
      {"--on-leak=wait"}, absl::StrCat("(setsid bash -c '", MakeDoneAfterGo(),
                                       "') & ", ExitWith(6)));
  EXPECT_EQ(outcome.exit_code(), 6);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_TRUE(std::filesystem::exists(File("done")));
  Json report = Report();
  EXPECT_EQ(report["leaked_count"], 0);
  EXPECT_EQ(report["reason"], "exit");
  EXPECT_FALSE(report["killed"]);
  EXPECT_GT(report["times"]["wait"], 0);
}

TEST_F(LeakWaitTest, WaitIsForThoseWhoHaveMovedAwayToo) {
  Outcome outcome = RunUntilDone(
      {"--on-leak=wait"},
      absl::StrCat("(echo $BASHPID >", OwnCgroup(), "/cgroup.procs; touch ",
                   File("moved"), "; setsid bash -c '", MakeDoneAfterGo(),
                   "') & until [ -e ", File("moved"), " ]; do :; done; ",
                   ExitWith(0)));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_TRUE(std::filesystem::exists(File("done")));
}

TEST_F(LeakWaitTest, WaitBelowASubreaperAndForAProcessGroup) {
  for (const char* containment : {"subreaper", "process-group"}) {
    SCOPED_TRACE(containment);
    Outcome outcome = RunUntilDone(
        {"--on-leak=wait", absl::StrCat("--containment=", containment)},
        absl::StrCat("(", MakeDoneAfterGo(), ") & ", ExitWith(6)));
    EXPECT_EQ(outcome.exit_code(), 6);
    EXPECT_TRUE(std::filesystem::exists(File("done")));
  }
}

TEST_F(LeakWaitTest, WaitEndsWhenItsTimeIsOver) {
  absl::Time began = absl::Now();
  Outcome outcome =
      RunScript({"--on-leak=wait=300ms"}, absl::StrCat(kDaemon, "exit 0"));
  absl::Duration took = absl::Now() - began;
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, HasSubstr("outlived the command: pid "));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_EQ(Report()["leaked_count"], 1);
  Json times = Report()["times"];
  EXPECT_GE(times["wait"], 0.3);
  // None of it counts twice.
  EXPECT_LE(times["run"].get<double>() + times["wait"].get<double>() +
                times["teardown"].get<double>(),
            absl::ToDoubleSeconds(took));
}

TEST_F(LeakWaitTest, TheTimeoutGoesOnWhileItWaits) {
  std::unique_ptr<Program> run = Start(
      {"env", "TREEKILL_LEAP=" + File("leap"), TreekillWithFaultsPath(), "run",
       "--on-leak=wait", "--timeout=1h", "--report", File("report"), "--",
       "bash", "-c", absl::StrCat("setsid sleep 60 & ", ExitWith(0))});
  AwaitLeaderlessWait(*run);
  WriteAll(File("leap"), "");
  EXPECT_EQ(run->Wait().exit_code(), 124);
  EXPECT_EQ(Report()["reason"], "timeout");
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(LeakWaitTest, SignalsEndTheWait) {
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    SCOPED_TRACE(signal);
    std::unique_ptr<Program> run = StartScript(
        {"--on-leak=wait"},
        absl::StrCat(kDaemon, "echo $$ >", File("leader"), "; exit 7"));
    ASSERT_NO_FATAL_FAILURE(AwaitLeaderlessWait(*run));
    ASSERT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() == 2; }));
    run->Signal(signal);
    EXPECT_EQ(run->Wait().exit_code(), 7);
    EXPECT_EQ(Report()["reason"], "stop");
    // It had outlived the command, if that was seen before the signal.
    EXPECT_GE(Report()["leaked"].size() + Report()["members"].size(), 1U);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    unlink(File("leader").c_str());
  }
}

// The command is dead, and treekill does not know yet.
TEST_F(LeakWaitTest, ASignalThatFindsTheCommandDeadEndsTheWait) {
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    SCOPED_TRACE(signal);
    std::unique_ptr<Program> run = StartScript(
        {"--on-leak=wait"},
        absl::StrCat(kDaemon, "echo $$ >", File("leader"), "; until [ -e ",
                     File("go"), " ]; do sleep 0.01; done; exit 7"));
    ASSERT_TRUE(Eventually([&] { return !Read("leader").empty(); }));
    pid_t leader = std::stoi(Read("leader"));
    run->Signal(SIGSTOP);
    ASSERT_TRUE(Eventually([&] { return StateOf(run->pid()) == 'T'; }));
    WriteAll(File("go"), "");
    ASSERT_TRUE(Eventually([&] { return StateOf(leader) == 'Z'; }));
    run->Signal(signal);
    run->Signal(SIGCONT);
    EXPECT_EQ(run->Wait().exit_code(), 7);
    EXPECT_EQ(Report()["reason"], "stop");
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    unlink(File("leader").c_str());
    unlink(File("go").c_str());
  }
}

TEST_F(LeakWaitTest, ASignalThatEndsTheCommandEndsTheOthers) {
  for (int signal : {SIGINT, SIGQUIT}) {
    SCOPED_TRACE(signal);
    std::unique_ptr<Program> run =
        StartScript({"--on-leak=wait"},
                    absl::StrCat("trap 'exit 7' INT QUIT; ", kDaemon, "echo >",
                                 File("up"), "; while :; do :; done"));
    ASSERT_TRUE(
        Eventually([&] { return std::filesystem::exists(File("up")); }));
    run->Signal(signal);
    EXPECT_EQ(run->Wait().exit_code(), 7);
    EXPECT_EQ(Report()["reason"], "stop");
    EXPECT_EQ(Report()["leaked_count"], 1);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    unlink(File("up").c_str());
  }
}

TEST_F(LeakWaitTest, TreekillKilledWhileItWaitsLeavesNothing) {
  std::unique_ptr<Program> run =
      StartScript({"--on-leak=wait"},
                  absl::StrCat(kDaemon, "touch ", File("up"), "; exit 0"));
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(File("up")); }));
  run->Signal(SIGKILL);
  run->Wait();
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(60)), IsEmpty());
  EXPECT_TRUE(Eventually([] { return LeftLeaves().empty(); }));
}

TEST_F(LeakWaitTest, WaitIsNotForThoseWhoAreKept) {
  Outcome outcome =
      RunUntilDone({"--name=wanted", "--on-leak=wait", "--keep=wanted-one"},
                   absl::StrCat("(exec -a wanted-one sleep 60) & until_sleep; ",
                                "(setsid bash -c '", MakeDoneAfterGo(), "') & ",
                                ExitWith(0)));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_TRUE(std::filesystem::exists(File("done")));
  EXPECT_THAT(FindByCookie(cookie()), SizeIs(1));
  EndKept("wanted");
}

}  // namespace
}  // namespace treekill::rig
