// Which program is the guardian, and what happens when there is none to be had.
#include <sys/socket.h>
#include <sys/time.h>

#include <csignal>

#include "tests/kernel/guardian_fixture.h"

namespace treekill {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kVariable[] = "TREEKILL_GUARDIAN";

class GuardianProgramTest : public GuardianTest {
 protected:
  void TearDown() override {
    unsetenv(kVariable);
    GuardianTest::TearDown();
  }

  Command Touch() { return Shell("echo >" + File("ran")); }

  // Copies the guardian's program, so that a running one is known by its file.
  std::string Copy(const std::string& name) {
    std::string copy = File(name);
    std::filesystem::copy_file(rig::GuardianPath(), copy);
    return copy;
  }

  std::string Script(const std::string& name, const std::string& text) {
    std::string script = File(name + ".new");
    rig::WriteAll(script, "#!/bin/sh\n" + text + "\n");
    chmod(script.c_str(), 0700);
    // At once, and also where a program is that runs.
    rename(script.c_str(), File(name).c_str());
    return File(name);
  }

  std::string ProgramOf(pid_t pid) {
    std::error_code error;
    return std::filesystem::read_symlink(absl::StrCat("/proc/", pid, "/exe"),
                                         error);
  }
};

class NoGuardianTest : public GuardianProgramTest,
                       public testing::WithParamInterface<const char*> {};

TEST_P(NoGuardianTest, NothingIsRun) {
  Create({.guardian_program = GetParam()});
  absl::Status status = supervisor_->Spawn(Touch()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("guardian"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam()));
  EXPECT_EQ(rig::ReadAll(File("ran")), "");
  EXPECT_THAT(ChildrenOf(getpid()), IsEmpty());
  EXPECT_FALSE(AnyLeaf());
}

TEST_P(NoGuardianTest, ItIsRunWithLessIfThatWillDo) {
  Create({.guardian_program = GetParam()});
  Tree tree = Spawn(Touch(), {.guardian_optional = true});
  ASSERT_TRUE(tree.valid());
  EXPECT_EQ(tree.report().on_supervisor_death, OnSupervisorDeath::kKillLeader);
  EXPECT_THAT(std::string(tree.report().guardian_error.message()),
              HasSubstr(GetParam()));
  EXPECT_TRUE(WaitForEnd(tree));
  EXPECT_NE(rig::ReadAll(File("ran")), "");
  Tree without =
      Spawn(Touch(), {.guardian_optional = true,
                      .parent_death_signal = ParentDeathSignal::kNever});
  ASSERT_TRUE(without.valid());
  EXPECT_EQ(without.report().on_supervisor_death, OnSupervisorDeath::kLeave);
}

INSTANTIATE_TEST_SUITE_P(
    , NoGuardianTest,
    testing::Values("/nonexistent", "/etc/passwd", "/bin/true", "/bin/cat"),
    [](const testing::TestParamInfo<const char*>& info) {
      return std::filesystem::path(info.param).filename().string();
    });

TEST_F(GuardianProgramTest, OneThatDoesNothingIsNotWaitedForForLong) {
  std::string program = Script("idle", "exec sleep 600");
  ScopedLimit limit("guardian", absl::Milliseconds(100));
  Create({.guardian_program = program});
  absl::Status status = supervisor_->Spawn(Touch()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(program));
  EXPECT_EQ(rig::ReadAll(File("ran")), "");
  EXPECT_THAT(ChildrenOf(getpid()), IsEmpty());
  EXPECT_FALSE(AnyLeaf());
}

TEST_F(GuardianProgramTest, SignalsDoNotShortenTheWaitForIt) {
  static char go[256];
  static int signals;
  signals = 0;
  snprintf(go, sizeof(go), "%s", File("go").c_str());
  Create({.guardian_program = Script(
              "slow", absl::StrCat("until [ -e ", go, " ]; do sleep 0.01; done",
                                   "; exec '", rig::GuardianPath(), "'"))});
  // Without SA_RESTART.
  struct sigaction before;
  struct sigaction interrupts {};
  interrupts.sa_handler = [](int) {
    if (++signals == 50) close(open(go, O_WRONLY | O_CREAT, 0600));
  };
  sigaction(SIGALRM, &interrupts, &before);
  const itimerval often{{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &often, nullptr);
  absl::StatusOr<Tree> tree = supervisor_->Spawn(kSleeper);
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  EXPECT_TRUE(tree.ok()) << tree.status();
}

TEST_F(GuardianProgramTest, TheEnvironmentNamesIt) {
  std::string copy = Copy("a");
  setenv(kVariable, copy.c_str(), 1);
  Create();
  Tree tree = Spawn(kSleeper);
  EXPECT_EQ(ProgramOf(AwaitGuardian(getpid())), copy);
}

TEST_F(GuardianProgramTest, TheOptionGoesBeforeTheEnvironment) {
  std::string copy = Copy("a");
  setenv(kVariable, "/nonexistent", 1);
  Create({.guardian_program = copy});
  Tree tree = Spawn(kSleeper);
  EXPECT_EQ(ProgramOf(AwaitGuardian(getpid())), copy);
}

TEST_F(GuardianProgramTest, AnEmptyVariableNamesNone) {
  setenv(kVariable, "", 1);
  Create();
  Tree tree = Spawn(kSleeper);
  EXPECT_EQ(ProgramOf(AwaitGuardian(getpid())), rig::GuardianPath());
}

TEST_F(GuardianProgramTest, TheEnvironmentNamesOneThatIsNotThere) {
  setenv(kVariable, "/nonexistent", 1);
  Create();
  absl::Status status = supervisor_->Spawn(Touch()).status();
  EXPECT_EQ(ErrnoOf(status), ENOENT) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent"));
}

// A package may replace the program while a host runs.
TEST_F(GuardianProgramTest, OneThatAlwaysDiesIsNotStartedWithoutEnd) {
  std::string program = Copy("guardian");
  ScopedLimit limit("guardian-again", absl::Hours(1));
  Create({.guardian_program = program});
  Tree tree = Spawn(kSleeper);
  pid_t former = AwaitGuardian(getpid());
  Script("guardian", "echo started >>" + File("starts") + "; exit 125");
  Signal(former, SIGKILL);
  EXPECT_TRUE(rig::Eventually([&] {
    EXPECT_TRUE(supervisor_->Dispatch().ok());
    return !tree.report().guardian_error.ok();
  }));
  // There is nothing more to do before that hour is over.
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::ZeroDuration()));
  size_t starts = rig::ReadAll(File("starts")).size() / strlen("started\n");
  EXPECT_GE(starts, 1u);
  EXPECT_LE(starts, 120u);
  EXPECT_EQ(tree.report().on_supervisor_death, OnSupervisorDeath::kKillLeader);
  EXPECT_TRUE(IsAlive(tree.leader()));
}

// ------------------------------------------------------------------ by hand

void ExpectOneLineOfHelp(const rig::Outcome& outcome) {
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_EQ(outcome.output, "");
  EXPECT_THAT(outcome.errors, HasSubstr("it is started by treekill"));
  EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1);
}

TEST_F(GuardianProgramTest, ByHandItDoesNothing) {
  ExpectOneLineOfHelp(rig::RunProgram({rig::GuardianPath()}));
  ExpectOneLineOfHelp(rig::RunProgram({rig::GuardianPath(), "--help"}));
  ExpectOneLineOfHelp(
      rig::RunProgram({"bash", "-c", "exec -a 'treekill: guardian of 1' \"$0\"",
                       rig::TreekillPath()}));
}

}  // namespace
}  // namespace treekill
