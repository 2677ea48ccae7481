// LeakPolicy in the library: who is kept lives on without its supervisor.
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

using ::testing::SizeIs;

class SupervisorLeaksTest : public SupervisedTest {
 protected:
  Tree RunToItsEnd(const std::string& script, const LeakPolicy& leaks) {
    Tree tree = Spawn(Shell(script), {.name = "library", .leaks = leaks});
    EXPECT_TRUE(tree.valid() && WaitForEnd(tree));
    return tree;
  }

  void EndKept(const TreeReport& report) {
    absl::StatusOr<std::vector<LiveRun>> runs = FindRuns(report.kept_leaf);
    ASSERT_TRUE(runs.ok()) << runs.status();
    ASSERT_THAT(*runs, SizeIs(1));
    EXPECT_EQ((*runs)[0].info().state, RunState::kKept);
    absl::StatusOr<RunEnd> end = (*runs)[0].End({.signal = SIGKILL});
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_TRUE(end->drained);
    // Its supervisor, this process, has done with it.
    EXPECT_FALSE(std::filesystem::exists(report.kept_leaf));
  }
};

// Neither by Kill() nor by the destructors.
TEST_F(SupervisorLeaksTest, TheHandleDoesNotKillWhoIsKept) {
  pid_t pid = 0;
  TreeReport report;
  {
    Tree tree = RunToItsEnd("sleep 60 & exit 3", {.on_leak = OnLeak::kKeep});
    report = tree.report();
    ASSERT_THAT(report.kept, SizeIs(1));
    pid = report.kept[0].pid;
    EXPECT_TRUE(tree.Kill().ok());
  }
  supervisor_.reset();
  EXPECT_EQ(report.status.code(), 3);
  EXPECT_EQ(report.leaked_count, 0);
  EXPECT_TRUE(report.drained);
  EXPECT_TRUE(IsAlive(pid));
  EndKept(report);
  EXPECT_FALSE(IsAlive(pid));
}

TEST_F(SupervisorLeaksTest, WaitsAndThenKills) {
  Tree waits = RunToItsEnd("sleep 0.2 & exit 0", {.on_leak = OnLeak::kWait});
  EXPECT_EQ(waits.report().leaked_count, 0);
  EXPECT_FALSE(waits.report().killed);
  EXPECT_GT(waits.report().wait_time, absl::ZeroDuration());
  Tree kills =
      RunToItsEnd("sleep 60 & exit 0",
                  {.on_leak = OnLeak::kWait, .wait = absl::Milliseconds(100)});
  EXPECT_EQ(kills.report().leaked_count, 1);
  EXPECT_TRUE(kills.report().drained);
}

TEST_F(SupervisorLeaksTest, StopEndsTheWait) {
  absl::StatusOr<Tree> tree = supervisor_->Spawn(
      Shell("sleep 60 & exit 4"), {.leaks = {.on_leak = OnLeak::kWait}});
  ASSERT_TRUE(tree.ok()) << tree.status();
  while (!tree->leader_ended()) {
    ASSERT_TRUE(tree->Wait(absl::Milliseconds(10)).ok());
  }
  EXPECT_FALSE(tree->ending());
  tree->Stop();
  EXPECT_TRUE(tree->ending());
  ASSERT_TRUE(WaitForEnd(*tree));
  EXPECT_EQ(tree->report().reason, EndReason::kStopped);
  EXPECT_EQ(tree->report().status.code(), 4);
  EXPECT_EQ(tree->report().leaked_count, 1);
}

TEST_F(SupervisorLeaksTest, NobodyIsKeptWithoutACgroup) {
  absl::StatusOr<Supervisor> other =
      Supervisor::Create({.containment = Containment::kProcessGroup});
  ASSERT_TRUE(other.ok()) << other.status();
  absl::StatusOr<Tree> tree =
      other->Spawn(Shell("exit 0"), {.leaks = {.keep = {"ssh-agent"}}});
  EXPECT_TRUE(absl::IsFailedPrecondition(tree.status())) << tree.status();
}

}  // namespace
}  // namespace treekill
