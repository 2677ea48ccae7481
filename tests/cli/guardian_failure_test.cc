// A guardian that cannot be had: nothing is started, or it is said what would
// live on.
#include <csignal>
#include <string>

#include "tests/cli/death_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class GuardianFailureTest : public DeathTest {
 protected:
  std::unique_ptr<Program> StartFaulty(const std::string& plan,
                                       Arguments arguments) {
    arguments.insert(arguments.begin(),
                     {"env", "TREEKILL_FAULTS=" + plan,
                      "TREEKILL_LIMITS=guardian-again:20ms", LeapVariable(),
                      TreekillWithFaultsPath(), "run", ReportOption()});
    return Start(arguments);
  }

  void ExpectRefused(const std::string& plan, Arguments options,
                     const std::string& message) {
    SCOPED_TRACE(plan);
    options.insert(options.end(), {"--", "touch", File("made")});
    Outcome outcome = StartFaulty(plan, options)->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
    EXPECT_THAT(outcome.errors, HasSubstr(message));
    EXPECT_FALSE(Exists("made"));
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
  }

  void ExpectNoGuardianInReport() {
    EXPECT_EQ(Report()["on_supervisor_death"], "kill-leader");
    EXPECT_THAT(Report()["guardian_error"], HasSubstr("clone3: "));
  }

  // SIGKILL to treekill ends the leader, and only it.
  void ExpectRestLivesUntilGc(Program& treekill) {
    pid_t leader = PidIn("leader");
    pid_t rest = PidIn("rest");
    EXPECT_EQ(GuardianNow(treekill.pid()), 0);
    treekill.Signal(SIGKILL);
    treekill.Wait();
    EXPECT_TRUE(Eventually([&] { return !IsAlive(leader); }));
    Outcome outcome = Gc();
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.output, HasSubstr("killed 1 process"));
    EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat(rest, " (sleep)")));
    ExpectAllGone(0);
  }

  // Writes who it is, and who is not the leader.
  static constexpr char kTwo[] =
      "setsid sleep 600 & echo $! >rest; echo $$ >leader; touch ready\n"
      "while [ ! -e done ]; do sleep 0.02; done; exit 7";
};

TEST_F(GuardianFailureTest, NothingIsStarted) {
  ExpectRefused(
      "clone3@parked:EAGAIN", {},
      "clone3: Resource temporarily unavailable; a limit on the number "
      "of processes is reached");
  EXPECT_EQ(Report()["exit_status"], 125);
  EXPECT_THAT(Report()["error"], StartsWith("cannot start the guardian: "));
  ExpectRefused("clone3@parked:ENOMEM", {"--guardian=yes"},
                "cannot start the guardian: ");
  ExpectRefused("clone3@parked:ENOSYS clone@parked:ENOSYS", {},
                "clone: Function not implemented");
  ExpectRefused("socketpair:EMFILE", {}, "socketpair: Too many open files");
  ExpectRefused("pidfd_open:EMFILE:2", {}, "pidfd_open: Too many open files");
}

// A guardian that cannot be told is replaced by one that finds all that it is
// to know when it starts.
TEST_F(GuardianFailureTest, OneMessageIsLost) {
  for (const char* plan :
       {"sendmsg:EPIPE:1", "sendmsg:EPIPE:1:1", "sendmsg:ECONNREFUSED:1"}) {
    SCOPED_TRACE(plan);
    for (const char* name : {"ready", "done"}) unlink(File(name).c_str());
    std::unique_ptr<Program> program =
        StartFaulty(plan, ScriptRun(kUntilDone, {"-k", "120s"}));
    ASSERT_TRUE(Comes("ready"));
    WriteAll(File("done"), "");
    Outcome outcome = program->Wait();
    EXPECT_EQ(outcome.exit_code(), 7);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_EQ(Report()["on_supervisor_death"], "kill-tree");
  }
}

TEST_F(GuardianFailureTest, EveryMessageIsLost) {
  ExpectRefused("sendmsg:EPIPE", {}, "the guardian does not listen: ");
}

// That of the grace is the third.
TEST_F(GuardianFailureTest, TheWordOfTheGraceIsLost) {
  std::unique_ptr<Program> program =
      StartFaulty("sendmsg:EPIPE:1:2", ScriptRun(kSlowMember, {"-k", "120s"}));
  ASSERT_TRUE(Comes("ready"));
  pid_t first = GuardianOf(program->pid());
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  GuardianOf(program->pid(), first);
  program->Signal(SIGKILL);
  program->Wait();
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  ExpectAllGone(0);
}

TEST_F(GuardianFailureTest, TryGoesOnWithout) {
  std::unique_ptr<Program> program =
      StartFaulty("clone3@parked:EAGAIN", ScriptRun(kTwo, {"--guardian=try"}));
  ASSERT_TRUE(Comes("ready"));
  EXPECT_EQ(GuardianNow(program->pid()), 0);
  WriteAll(File("done"), "");
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 7);
  EXPECT_THAT(outcome.errors, StartsWith("treekill: no guardian: "));
  EXPECT_THAT(outcome.errors, HasSubstr("clone3: Resource temporarily"));
  // Once.
  EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
  EXPECT_EQ(Report()["exit_status"], 7);
  ExpectNoGuardianInReport();
}

TEST_F(GuardianFailureTest, TryThatGoesOnWithoutKillsTheLeader) {
  std::unique_ptr<Program> program =
      StartFaulty("clone3@parked:EAGAIN", ScriptRun(kTwo, {"--guardian=try"}));
  ASSERT_TRUE(Comes("ready"));
  ExpectRestLivesUntilGc(*program);
}

TEST_F(GuardianFailureTest, TryThatSucceeds) {
  std::unique_ptr<Program> program =
      StartScript(kHardToKill, {"--guardian=try"});
  pid_t guardian = GuardianOf(program->pid());
  program->Signal(SIGKILL);
  program->Wait();
  ExpectAllGone(guardian);
}

TEST_F(GuardianFailureTest, NoneIsAsked) {
  std::unique_ptr<Program> program =
      StartScript(kTwo, {"--guardian=no", ReportOption()});
  EXPECT_EQ(GuardianNow(program->pid()), 0);
  WriteAll(File("done"), "");
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 7);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(Report()["on_supervisor_death"], "kill-leader");
  EXPECT_EQ(Report()["guardian_error"], nullptr);
}

TEST_F(GuardianFailureTest, NoneThatIsAskedKillsTheLeader) {
  std::unique_ptr<Program> program = StartScript(kTwo, {"--guardian=no"});
  ExpectRestLivesUntilGc(*program);
}

TEST_F(GuardianFailureTest, InvalidChoice) {
  for (const char* text : {"", "maybe", "YES", "no ", "1"}) {
    ExpectRefused("", {absl::StrCat("--guardian=", text)},
                  "invalid --guardian");
  }
}

// --------------------------------------- killed, and it cannot be replaced

TEST_F(GuardianFailureTest, RunGoesOnWithoutAReplacement) {
  std::unique_ptr<Program> program =
      StartFaulty("clone3@parked:EAGAIN:-1:1", ScriptRun(kUntilDone));
  ASSERT_TRUE(Comes("ready"));
  kill(GuardianOf(program->pid()), SIGKILL);
  EXPECT_TRUE(Eventually([&] { return GuardianNow(program->pid()) == 0; }));
  // Some are tried in vain.
  AwaitSleeps(program->pid(), 5);
  EXPECT_EQ(GuardianNow(program->pid()), 0);
  EXPECT_FALSE(FindByCookie(cookie()).empty());
  WriteAll(File("done"), "");
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 7);
  EXPECT_THAT(outcome.errors, StartsWith("treekill: no guardian: "));
  EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
  ExpectNoGuardianInReport();
}

TEST_F(GuardianFailureTest, ReplacementThatComesLater) {
  std::unique_ptr<Program> program =
      StartFaulty("clone3@parked:EAGAIN:2:1", ScriptRun(kUntilDone));
  ASSERT_TRUE(Comes("ready"));
  pid_t first = GuardianOf(program->pid());
  kill(first, SIGKILL);
  pid_t second = GuardianOf(program->pid(), first);
  EXPECT_NE(second, first);
  WriteAll(File("done"), "");
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 7);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(Report()["on_supervisor_death"], "kill-tree");
  EXPECT_EQ(Report()["guardian_error"], nullptr);
}

TEST_F(GuardianFailureTest, ReplacementThatComesLaterDoesItsWork) {
  std::unique_ptr<Program> program =
      StartFaulty("clone3@parked:EAGAIN:1:1", ScriptRun(kHardToKill));
  ASSERT_TRUE(Comes("ready"));
  pid_t first = GuardianOf(program->pid());
  kill(first, SIGKILL);
  pid_t second = GuardianOf(program->pid(), first);
  program->Signal(SIGKILL);
  program->Wait();
  ExpectAllGone(second);
}

TEST_F(GuardianFailureTest, TimeoutGoesOnWithoutAReplacement) {
  std::unique_ptr<Program> program =
      StartFaulty("clone3@parked:EAGAIN:-1:1",
                  ScriptRun(kHardToKill, {"--timeout=1h", "-k", "200ms"}));
  ASSERT_TRUE(Comes("ready"));
  kill(GuardianOf(program->pid()), SIGKILL);
  EXPECT_TRUE(Eventually([&] { return GuardianNow(program->pid()) == 0; }));
  WriteAll(File("leap"), "");
  EXPECT_EQ(program->Wait().exit_code(), 124);
  EXPECT_EQ(Report()["reason"], "timeout");
  ExpectNoGuardianInReport();
}

}  // namespace
}  // namespace treekill::rig
