// The guardian: treekill is killed by SIGKILL, and what it held dies all the
// same.
#include <algorithm>
#include <csignal>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/cli/death_fixture.h"
#include "treekill/kernel/event_loop.h"

namespace treekill::rig {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class GuardianTest : public DeathTest {
 protected:
  std::string Ps(pid_t pid, const char* column) {
    Outcome outcome = RunProgram({"ps", "-o", column, "-p", absl::StrCat(pid)});
    std::string line = outcome.output;
    line.erase(std::find(line.begin(), line.end(), '\n'), line.end());
    return line;
  }

  void ExpectShown(const Program& treekill) {
    pid_t guardian = SettledGuardianOf(treekill.pid());
    EXPECT_EQ(Ps(guardian, "comm="), "treekill-guard");
    EXPECT_EQ(Ps(guardian, "args="),
              absl::StrCat("treekill: guardian of ", treekill.pid(),
                           ", ends its commands if it is killed"));
  }

  void KillAndExpectNothing(Program& program) {
    program.Signal(SIGKILL);
    program.Wait();
    ASSERT_THAT(WaitForNobody(cookie(), absl::Seconds(60)), IsEmpty());
    ASSERT_TRUE(Eventually([] { return LeftLeaves().empty(); }));
  }

  void KillWhileItRuns(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      for (const char* name : {"ready", "deaf"}) unlink(File(name).c_str());
      std::unique_ptr<Program> program = StartScript(kHardToKill);
      pid_t guardian = GuardianOf(program->pid());
      program->Signal(SIGKILL);
      EXPECT_EQ(program->Wait().signal(), SIGKILL);
      ExpectAllGone(guardian);
    }
  }

  // The rounds are spread over the few milliseconds that a start takes.
  static constexpr int kMicroseconds = 6000;

  void KillAtTheStart(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      std::unique_ptr<Program> program =
          StartRun({"bash", "-c", "setsid sleep 600 & sleep 600"});
      usleep(round * kMicroseconds / rounds);
      ASSERT_NO_FATAL_FAILURE(KillAndExpectNothing(*program)) << round;
    }
  }

  void KillAtTheEnd(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      unlink(File("ready").c_str());
      std::unique_ptr<Program> program = StartScript(
          "setsid sleep 600 &\n"
          "setsid bash -c 'sleep 600 & trap \"\" TERM; sleep 600' &\n"
          "touch ready; sleep 600\n",
          {"-k", "1ms"});
      program->Signal(SIGTERM);
      usleep(round * kMicroseconds / rounds);
      ASSERT_NO_FATAL_FAILURE(KillAndExpectNothing(*program)) << round;
    }
  }
};

using ThoroughGuardianTest = GuardianTest;

TEST_F(GuardianTest, NothingOutlivesTreekill) { KillWhileItRuns(1); }
TEST_F(ThoroughGuardianTest, NothingOutlivesTreekill) { KillWhileItRuns(10); }

// From the first moment on.
TEST_F(GuardianTest, KilledAtAnyMomentOfTheStart) { KillAtTheStart(6); }
TEST_F(ThoroughGuardianTest, KilledAtAnyMomentOfTheStart) {
  KillAtTheStart(60);
}

// And to the last.
TEST_F(GuardianTest, KilledAtAnyMomentOfTheEnd) { KillAtTheEnd(6); }
TEST_F(ThoroughGuardianTest, KilledAtAnyMomentOfTheEnd) { KillAtTheEnd(60); }

TEST_F(GuardianTest, KilledGuardianIsReplaced) {
  std::unique_ptr<Program> program = StartScript(kHardToKill);
  pid_t guardian = GuardianOf(program->pid());
  for (int round = 0; round < 5; ++round) {
    kill(guardian, SIGKILL);
    pid_t next = GuardianOf(program->pid(), guardian);
    EXPECT_FALSE(IsAlive(guardian));
    guardian = next;
  }
  program->Signal(SIGKILL);
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  ExpectAllGone(guardian);
}

TEST_F(GuardianTest, CommandDoesNotMindThatGuardiansAreKilled) {
  std::unique_ptr<Program> program = StartScript(kUntilDone, {ReportOption()});
  pid_t guardian = GuardianOf(program->pid());
  for (int round = 0; round < 3; ++round) {
    kill(guardian, SIGKILL);
    guardian = GuardianOf(program->pid(), guardian);
  }
  WriteAll(File("done"), "");
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 7);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(Report()["on_supervisor_death"], "kill-tree");
  EXPECT_EQ(Report()["guardian_error"], nullptr);
  EXPECT_EQ(Report()["strays_killed"], 0);
}

// ----------------------------------------------------------------- the grace

TEST_F(GuardianTest, GraceGoesOn) {
  std::unique_ptr<Program> program = StartScript(kSlowMember, {"-k", "120s"});
  pid_t guardian = GuardianOf(program->pid());
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  program->Signal(SIGKILL);
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  AwaitTakenOver(guardian);
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  // Long before the 120 s.
  ExpectAllGone(guardian);
}

TEST_F(GuardianTest, GraceGoesOnWithAGuardianThatWasReplacedInIt) {
  std::unique_ptr<Program> program = StartScript(kSlowMember, {"-k", "120s"});
  pid_t guardian = GuardianOf(program->pid());
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  kill(guardian, SIGKILL);
  guardian = GuardianOf(program->pid(), guardian);
  program->Signal(SIGKILL);
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  AwaitTakenOver(guardian);
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  ExpectAllGone(guardian);
}

TEST_F(GuardianTest, GraceHasItsEnd) {
  std::unique_ptr<Program> program = StartScript(
      "setsid bash -c 'trap \"\" TERM; touch deaf\n"
      "  while :; do sleep 600; done' &\n"
      "while [ ! -e deaf ]; do sleep 0.02; done\n" +
          std::string(kSlowMember),
      {"-k", "500ms"});
  pid_t guardian = GuardianOf(program->pid());
  absl::Duration started = kernel::MonotonicNow();
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  program->Signal(SIGKILL);
  // On a slow machine treekill may have come to the end first.
  program->Wait();
  ExpectAllGone(guardian);
  EXPECT_GE(kernel::MonotonicNow() - started, absl::Milliseconds(500));
  EXPECT_FALSE(Exists("late"));
}

TEST_F(GuardianTest, SecondWordEndsTheGraceForTheGuardianToo) {
  std::unique_ptr<Program> program = StartScript(kSlowMember, {"-k", "120s"});
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  program->Signal(SIGTERM);
  program->Signal(SIGKILL);
  program->Wait();
  // Whoever of the two was first, the grace is over only if it was told.
  WriteAll(File("go"), "");
  ExpectAllGone(0);
}

// -------------------------------------------------------------- out of reach

TEST_F(GuardianTest, HasASessionOfItsOwn) {
  std::unique_ptr<Program> program = StartScript(kUntilDone);
  // A process group in any case, from the start.
  pid_t guardian = GuardianOf(program->pid());
  EXPECT_EQ(getpgid(guardian), guardian);
  EXPECT_EQ(SettledGuardianOf(program->pid()), guardian);
  EXPECT_EQ(getsid(guardian), guardian);
  EXPECT_EQ(getpgid(guardian), guardian);
  WriteAll(File("done"), "");
  EXPECT_EQ(program->Wait().exit_code(), 7);
}

TEST_F(GuardianTest, SurvivesWhatKillsTheProcessGroup) {
  std::unique_ptr<Program> program = StartScript(kHardToKill);
  pid_t guardian = GuardianOf(program->pid());
  ASSERT_EQ(getpgid(program->pid()), program->pid());
  kill(-program->pid(), SIGKILL);
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  ExpectAllGone(guardian);
}

TEST_F(GuardianTest, SurvivesTheSignalsOfATerminal) {
  std::unique_ptr<Program> program = StartScript(
      "trap '' INT QUIT; " + std::string(kSlowMember), {"-k", "120s"});
  pid_t guardian = GuardianOf(program->pid());
  for (int signal : {SIGINT, SIGQUIT, SIGWINCH, SIGCONT}) {
    EXPECT_EQ(kill(-program->pid(), signal), 0);
  }
  // An INT that is seen after the HUP would mean that nobody wants to wait.
  EXPECT_TRUE(Eventually([&] {
    return absl::StrContains(
               ReadAll(absl::StrCat("/proc/", program->pid(), "/status")),
               "ShdPnd:\t0000000000000000\n") &&
           SleepsIn(program->pid(), "poll");
  }));
  EXPECT_EQ(kill(-program->pid(), SIGHUP), 0);
  ASSERT_TRUE(Comes("term"));
  EXPECT_EQ(GuardianNow(program->pid()), guardian);
  // As a log-out does in the end.
  EXPECT_EQ(kill(-program->pid(), SIGKILL), 0);
  program->Wait();
  AwaitTakenOver(guardian);
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  ExpectAllGone(guardian);
}

TEST_F(GuardianTest, SurvivesEverySignalButKill) {
  std::unique_ptr<Program> program = StartScript(kHardToKill);
  pid_t guardian = GuardianOf(program->pid());
  // So that it cannot start another one.
  program->Signal(SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return StateOf(program->pid()) == 'T'; }));
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    EXPECT_EQ(kill(guardian, signal), 0) << signal;
  }
  program->Signal(SIGKILL);
  program->Wait();
  ExpectAllGone(guardian);
}

TEST_F(GuardianTest, ThatWasStoppedDoesItsWorkLater) {
  std::unique_ptr<Program> program = StartScript(kHardToKill);
  pid_t guardian = GuardianOf(program->pid());
  kill(guardian, SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return StateOf(guardian) == 'T'; }));
  program->Signal(SIGKILL);
  program->Wait();
  kill(guardian, SIGCONT);
  ExpectAllGone(guardian);
}

// ------------------------------------------------------------- what is seen

TEST_F(GuardianTest, IsShownForWhatItIs) {
  std::unique_ptr<Program> program = StartScript(kUntilDone);
  ExpectShown(*program);
  WriteAll(File("done"), "");
  program->Wait();
}

// Whatever treekill itself was called with.
TEST_F(GuardianTest, IsShownAmongLongArguments) {
  Arguments arguments = {"bash", "-c", "sleep 600"};
  for (int i = 0; i < 100; ++i) arguments.push_back(std::string(1000, 'x'));
  std::unique_ptr<Program> program = StartRun(arguments);
  ExpectShown(*program);
  program->Signal(SIGTERM);
  program->Wait();
}

TEST_F(GuardianTest, IsShownWithFewArgumentsAndAnEmptyEnvironment) {
  ASSERT_EQ(symlink(TreekillPath().c_str(), File("t").c_str()), 0);
  std::string folder = directory();
  std::unique_ptr<Program> program =
      Start({"env", "-i", "./t", "run", "/bin/sleep", "600"}, [&folder] {
        if (chdir(folder.c_str()) != 0) _exit(99);
      });
  ExpectShown(*program);
  program->Signal(SIGTERM);
  program->Wait();
}

TEST_F(GuardianTest, GoesWithTheCommand) {
  EXPECT_EQ(Run({"bash", "-c", "setsid sleep 600 & exit 3"}).exit_code(), 3);
  EXPECT_EQ(Run({"--timeout=0.1", "sleep", "600"}).exit_code(), 124);
  EXPECT_EQ(Run({"/no/such/program"}).exit_code(), 127);
  EXPECT_EQ(Run({directory()}).exit_code(), 126);
  EXPECT_EQ(Run({"--chdir=/no/such/folder", "true"}).exit_code(), 125);
}

TEST_F(GuardianTest, ThereIsNoneWithoutACgroup) {
  for (const char* containment : {"process-group", "process"}) {
    unlink(File("ready").c_str());
    unlink(File("done").c_str());
    std::unique_ptr<Program> program = StartScript(
        kUntilDone,
        {ReportOption(), absl::StrCat("--containment=", containment)});
    EXPECT_EQ(GuardianNow(program->pid()), 0);
    WriteAll(File("done"), "");
    EXPECT_EQ(program->Wait().exit_code(), 7);
    EXPECT_EQ(Report()["on_supervisor_death"], "kill-leader");
    EXPECT_EQ(Report()["guardian_error"], nullptr);
  }
}

}  // namespace
}  // namespace treekill::rig
