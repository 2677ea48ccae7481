// TreeOptions::timeout_first_step: a signal before the others, at a timeout.
#include <optional>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr absl::Duration kLong = absl::Minutes(5);
// Over by the time that it is looked at, unless the timers are paused.
constexpr absl::Duration kShort = absl::Milliseconds(1);

class TimeoutFirstStepTest : public SupervisedTest {
 protected:
  // A leader and a member, each of which writes down the signals that it gets
  // and ends by TERM only (ABRT: what a shell starts with "&" ignores QUIT).
  // Their time is over when they are ready.
  Tree Spawn(TreeOptions options) {
    options.timeout = absl::Milliseconds(1);
    std::string scribe =
        "ulimit -c 0\n"
        "trap 'echo ABRT >>" +
        File("$1") +
        "' ABRT\n"
        "trap 'echo TERM >>" +
        File("$1") +
        "; exit' TERM\n"
        "echo up >>" +
        File("$1") +
        "\n"
        "while :; do sleep 0.02; done\n";
    rig::WriteAll(File("scribe"), scribe);
    std::string script =
        "sh " + File("scribe") + " member & . " + File("scribe");
    Tree tree = SupervisedTest::Spawn(
        Command{.argv = {"/bin/bash", "-c", script, "bash", "leader"}},
        options);
    for (const char* name : {"leader", "member"}) {
      EXPECT_TRUE(
          rig::Eventually([&] { return rig::ReadAll(File(name)) == "up\n"; }));
    }
    return tree;
  }

  // Serves the tree to its end; goes on after the first signal when both have
  // written that down.
  bool ServeToItsEnd(Tree& tree) {
    EXPECT_TRUE(rig::Eventually([&] {
      EXPECT_TRUE(supervisor_->Dispatch().ok());
      return tree.ending();
    }));
    tree.PauseTimers();
    for (const char* name : {"leader", "member"}) {
      EXPECT_TRUE(rig::Eventually(
          [&] { return rig::ReadAll(File(name)).starts_with("up\nABRT\n"); }));
    }
    tree.ResumeTimers();
    return WaitForEnd(tree);
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
};

TEST_F(TimeoutFirstStepTest, ComesBeforeTheOthers) {
  Tree tree = Spawn({.timeout_first_step = TeardownStep{SIGABRT, kShort},
                     .teardown = {.steps = {{SIGTERM, kLong}}}});
  ASSERT_TRUE(ServeToItsEnd(tree));
  EXPECT_EQ(rig::ReadAll(File("leader")), "up\nABRT\nTERM\n");
  EXPECT_EQ(rig::ReadAll(File("member")), "up\nABRT\nTERM\n");
  EXPECT_EQ(tree.report().reason, EndReason::kTimeout);
  EXPECT_EQ(tree.report().first_signal, SIGABRT);
  EXPECT_FALSE(tree.report().killed);
  EXPECT_TRUE(tree.report().drained);
  EXPECT_THAT(tree.report().errors, IsEmpty());
}

// Whomever the other steps are for.
TEST_F(TimeoutFirstStepTest, GoesToEveryMember) {
  for (KillMode mode :
       {KillMode::kMixed, KillMode::kProcess, KillMode::kProcessGroup}) {
    SCOPED_TRACE(KillModeName(mode));
    for (const char* name : {"leader", "member"}) unlink(File(name).c_str());
    Tree tree =
        Spawn({.timeout_first_step = TeardownStep{SIGABRT, kShort},
               .teardown = {.kill_mode = mode, .steps = {{SIGTERM, kShort}}}});
    ASSERT_TRUE(ServeToItsEnd(tree));
    // They may have no time to write down the second one.
    for (const char* name : {"leader", "member"}) {
      EXPECT_THAT(rig::ReadAll(File(name)), StartsWith("up\nABRT\n"));
    }
    EXPECT_TRUE(tree.report().drained);
  }
}

// Once its leader has died of the first signal the others still have their
// time.
TEST_F(TimeoutFirstStepTest, TheLeadersEndCutsNobodyShort) {
  absl::StatusOr<Tree> tree = supervisor_->Spawn(
      Command{.argv = {"/bin/bash", "-c",
                       "ulimit -c 0; (trap 'sleep 0.3; echo >" + File("done") +
                           "; exit' ABRT; echo >" + File("up") +
                           "; while :; do sleep 0.02; done) & "
                           "exec sleep 600"}},
      {.timeout = absl::Milliseconds(1),
       .timeout_first_step = TeardownStep{SIGABRT, kLong},
       .teardown = {.kill_mode = KillMode::kMixed}});
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_TRUE(
      rig::Eventually([&] { return !rig::ReadAll(File("up")).empty(); }));
  WaitForSleep(tree->leader());
  ASSERT_TRUE(WaitForEnd(*tree));
  EXPECT_EQ(tree->report().status.signal(), SIGABRT);
  EXPECT_FALSE(tree->report().killed);
  EXPECT_EQ(rig::ReadAll(File("done")), "\n");
}

TEST_F(TimeoutFirstStepTest, IsForATimeoutOnly) {
  Tree tree = Spawn({.timeout_first_step = TeardownStep{SIGABRT, kLong},
                     .teardown = {.steps = {{SIGTERM, kLong}}}});
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(rig::ReadAll(File("leader")), "up\nTERM\n");
  EXPECT_EQ(tree.report().first_signal, SIGTERM);
}

TEST_F(TimeoutFirstStepTest, WithTheTimeoutsOwnSignal) {
  Tree tree = Spawn({.timeout_signal = SIGKILL,
                     .timeout_first_step = TeardownStep{SIGABRT, kShort}});
  ASSERT_TRUE(ServeToItsEnd(tree));
  EXPECT_EQ(rig::ReadAll(File("leader")), "up\nABRT\n");
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
}

TEST_F(TimeoutFirstStepTest, WithoutOtherSteps) {
  Tree tree = Spawn({.timeout_first_step = TeardownStep{SIGABRT, kShort},
                     .teardown = {.steps = {}}});
  ASSERT_TRUE(ServeToItsEnd(tree));
  EXPECT_EQ(rig::ReadAll(File("member")), "up\nABRT\n");
  EXPECT_TRUE(tree.report().killed);
}

TEST_F(TimeoutFirstStepTest, InvalidOnes) {
  for (TeardownStep step : {TeardownStep{0, kShort}, TeardownStep{1000, kShort},
                            TeardownStep{SIGABRT, absl::Seconds(-1)}}) {
    TreeOptions options{.timeout_first_step = step};
    EXPECT_TRUE(absl::IsInvalidArgument(Validate(options)));
  }
}

}  // namespace
}  // namespace treekill
