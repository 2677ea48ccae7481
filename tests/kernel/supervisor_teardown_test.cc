// How trees are ended: timeouts, Stop(), Kill(), steps and kill modes.
#include <sys/ptrace.h>

#include <optional>
#include <thread>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

using ::testing::SizeIs;

const Command kSleeper{.argv = {"sleep", "600"}};

constexpr absl::Duration kLong = absl::Minutes(2);
constexpr absl::Duration kMoment = absl::Milliseconds(20);

TreeOptions Steps(std::vector<TeardownStep> steps) {
  return TreeOptions{.teardown = {.steps = std::move(steps)}};
}

class TeardownTest : public SupervisedTest {
 protected:
  // An escapee in that mode, its members established.
  Tree SpawnEscapee(const std::string& mode, const TreeOptions& options = {}) {
    Tree tree = Spawn(Escapee(mode, File("ready")), options);
    EXPECT_FALSE(ReadyMembers(File("ready")).empty());
    return tree;
  }

  // A shell that has executed its `trap`.
  Tree SpawnStubborn(const TreeOptions& options) {
    Tree tree = Spawn(
        Shell("trap '' TERM; echo >" + File("up") + "; sleep 600 & sleep 600"),
        options);
    WaitForFile("up");
    return tree;
  }

  void WaitForFile(const std::string& name) {
    EXPECT_TRUE(
        rig::Eventually([&] { return !rig::ReadAll(File(name)).empty(); }));
  }

  // Is there an end of being ready, or would an event loop spin?
  bool GoesQuiet() {
    for (int i = 0; i < 200; ++i) {
      if (!IsReadable(supervisor_->fd(), absl::Milliseconds(200))) return true;
      EXPECT_TRUE(supervisor_->Dispatch().ok());
    }
    return false;
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
};

TEST_F(TeardownTest, Timeout) {
  Tree tree = Spawn(kSleeper, TreeOptions{.timeout = absl::Milliseconds(100)});
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().reason, EndReason::kTimeout);
  EXPECT_EQ(tree.report().first_signal, SIGTERM);
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
  EXPECT_FALSE(tree.report().killed);
  EXPECT_TRUE(tree.report().drained);
  EXPECT_EQ(tree.report().leaked_count, 0);
}

TEST_F(TeardownTest, ATimeoutSignalOfItsOwn) {
  Tree tree = Spawn(kSleeper, TreeOptions{.timeout = absl::Milliseconds(100),
                                          .timeout_signal = SIGINT});
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().first_signal, SIGINT);
  EXPECT_EQ(tree.report().status.signal(), SIGINT);
}

TEST_F(TeardownTest, SigkillAtATimeoutNeedsNoSteps) {
  Tree tree = Spawn(kSleeper, TreeOptions{.timeout = absl::Milliseconds(100),
                                          .timeout_signal = SIGKILL});
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().first_signal, 0);
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_TRUE(tree.report().killed);
}

TEST_F(TeardownTest, ATimeoutThatIsNotReachedDoesNothing) {
  Tree tree = Spawn(Shell("exit 0"), TreeOptions{.timeout = kLong});
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().reason, EndReason::kLeaderExited);
}

TEST_F(TeardownTest, Stop) {
  Tree tree = Spawn(Shell("sleep 600 & sleep 600"), Steps({{SIGTERM, kLong}}));
  EXPECT_FALSE(tree.ending());
  tree.Stop();
  EXPECT_TRUE(tree.ending());
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().reason, EndReason::kStopped);
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
  EXPECT_FALSE(tree.report().killed);
  tree.Stop();
  EXPECT_TRUE(tree.Kill().ok());
}

TEST_F(TeardownTest, StopWithASignalOfItsOwn) {
  Tree tree = Spawn(kSleeper, Steps({{SIGTERM, kLong}}));
  tree.Stop(SIGHUP);
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().first_signal, SIGHUP);
  EXPECT_EQ(tree.report().status.signal(), SIGHUP);
}

TEST_F(TeardownTest, StopWithASignalThatIsNoneEndsItAllTheSame) {
  for (int signal : {-1, 1000}) {
    Tree tree = Spawn(kSleeper, Steps({{SIGTERM, kLong}}));
    tree.Stop(signal);
    EXPECT_TRUE(WaitForEnd(tree));
  }
}

TEST_F(TeardownTest, NoStepsIsSigkill) {
  Tree tree = Spawn(kSleeper, Steps({}));
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_TRUE(tree.report().killed);
}

TEST_F(TeardownTest, TheStubbornAreKilledAfterTheGracePeriod) {
  Tree tree = SpawnStubborn(Steps({{SIGTERM, absl::Milliseconds(100)}}));
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().first_signal, SIGTERM);
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_TRUE(tree.report().killed);
}

TEST_F(TeardownTest, AStubbornMemberIsKilledWhenTheLeaderHasGone) {
  Tree tree = SpawnEscapee("ignore-signals",
                           Steps({{SIGTERM, absl::Milliseconds(100)}}));
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
  EXPECT_TRUE(tree.report().killed);
  EXPECT_TRUE(tree.report().drained);
}

// By number, in which a shell takes those that have come at a time.
TEST_F(TeardownTest, StepsInTheirOrder) {
  std::string log = File("log");
  Tree tree =
      Spawn(Shell(absl::StrCat(
                "trap 'echo HUP >>", log, "' HUP; trap 'echo INT >>", log,
                "' INT; trap 'echo TERM >>", log, "; exit 7' TERM; echo >",
                File("up"), "; while :; do sleep 0.05; done")),
            Steps({{SIGHUP, kMoment}, {SIGINT, kMoment}, {SIGTERM, kLong}}));
  WaitForFile("up");
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(rig::ReadAll(log), "HUP\nINT\nTERM\n");
  EXPECT_EQ(tree.report().status.ToString(), "exit code 7");
  EXPECT_EQ(tree.report().first_signal, SIGHUP);
  EXPECT_FALSE(tree.report().killed);
}

TEST_F(TeardownTest, StoppedAndFrozenMembersSeeTheSignal) {
  for (const char* mode : {"stopped", "frozen"}) {
    Tree tree = SpawnEscapee(mode, Steps({{SIGTERM, kLong}}));
    tree.Stop();
    ASSERT_TRUE(WaitForEnd(tree)) << mode;
    EXPECT_FALSE(tree.report().killed) << mode;
    EXPECT_TRUE(tree.report().drained) << mode;
    unlink(File("ready").c_str());
  }
}

TEST_F(TeardownTest, AFrozenLeaderSeesTheSignal) {
  Tree tree = Spawn(kSleeper, Steps({{SIGTERM, kLong}}));
  rig::WriteAll(tree.leaf() + "/cgroup.freeze", "1");
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
}

TEST_F(TeardownTest, Kill) {
  Tree tree = SpawnStubborn(Steps({{SIGTERM, kLong}}));
  EXPECT_TRUE(tree.Kill().ok());
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().reason, EndReason::kKilled);
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_TRUE(tree.report().drained);
}

TEST_F(TeardownTest, KillFromAnotherThread) {
  Tree tree = SpawnEscapee("sleepers");
  absl::Status killed;
  std::thread killer([&] { killed = tree.Kill(); });
  bool ended = WaitForEnd(tree);
  killer.join();
  ASSERT_TRUE(ended);
  EXPECT_TRUE(killed.ok()) << killed;
  EXPECT_EQ(tree.report().reason, EndReason::kKilled);
}

TEST_F(TeardownTest, KillInAGracePeriodThatNeverEnds) {
  Tree tree = SpawnStubborn(Steps({{SIGTERM, absl::InfiniteDuration()}}));
  tree.Stop();
  EXPECT_EQ(tree.Wait(absl::Milliseconds(100)).value(), false);
  EXPECT_TRUE(tree.Kill().ok());
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_EQ(tree.report().reason, EndReason::kStopped);
}

TEST_F(TeardownTest, KillOfATreeWhoseLeaderHasGone) {
  Tree tree = Spawn(Escapee("ignore-signals", File("ready"), "exit"),
                    Steps({{SIGTERM, absl::InfiniteDuration()}}));
  EXPECT_TRUE(rig::Eventually([&] {
    EXPECT_TRUE(supervisor_->Dispatch().ok());
    return tree.ending();
  }));
  EXPECT_FALSE(tree.ended());
  EXPECT_TRUE(tree.Kill().ok());
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(tree.report().drained);
}

TEST_F(TeardownTest, TheKillDescriptorWorksWithoutPrivileges) {
  Tree tree = SpawnStubborn(Steps({{SIGTERM, kLong}}));
  ASSERT_GE(tree.kill_fd(), 0);
  EXPECT_EQ(InChild([&]() -> std::string {
              if (setresuid(65534, 65534, 65534) != 0) return "setresuid";
              if (kill(tree.leader(), SIGKILL) == 0) return "not dropped";
              return write(tree.kill_fd(), "1", 1) == 1 ? "" : strerror(errno);
            }),
            "");
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_TRUE(tree.report().drained);
}

TEST_F(TeardownTest, SignalsToTheLeader) {
  Tree tree = Spawn(kSleeper);
  EXPECT_TRUE(tree.SignalLeader(SIGUSR1).ok());
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGUSR1);
  EXPECT_TRUE(tree.SignalLeader(SIGUSR1).ok());
  EXPECT_TRUE(tree.SignalLeaderGroup(SIGUSR1).ok());
}

TEST_F(TeardownTest, SignalsToTheLeadersGroup) {
  Tree tree = SpawnEscapee("child");
  std::vector<pid_t> members = ReadyMembers(File("ready"));
  ASSERT_THAT(members, SizeIs(1));
  EXPECT_TRUE(tree.SignalLeaderGroup(SIGUSR1).ok());
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGUSR1);
  EXPECT_FALSE(tree.report().killed);
}

TEST_F(TeardownTest, PausedTimersStandStill) {
  Tree tree = Spawn(kSleeper, TreeOptions{.timeout = kMoment});
  tree.PauseTimers();
  tree.PauseTimers();
  EXPECT_EQ(tree.Wait(5 * kMoment).value(), false);
  EXPECT_FALSE(tree.ending());
  tree.ResumeTimers();
  tree.ResumeTimers();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().reason, EndReason::kTimeout);
}

TEST_F(TeardownTest, APausedGracePeriodGoesOnAfterwards) {
  Tree tree = SpawnStubborn(Steps({{SIGTERM, kMoment}}));
  tree.Stop();
  tree.PauseTimers();
  EXPECT_EQ(tree.Wait(5 * kMoment).value(), false);
  tree.ResumeTimers();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(tree.report().killed);
}

TEST_F(TeardownTest, ATreeWhoseTimersArePausedEndsWithItsLeader) {
  Tree tree = Spawn(Shell("sleep 600 & exit 3"), TreeOptions{.timeout = kLong});
  tree.PauseTimers();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.code(), 3);
  tree.ResumeTimers();
}

// An event loop that wakes for nothing burns a processor.
TEST_F(TeardownTest, NothingIsReadyDuringAGracePeriod) {
  Tree tree = SpawnStubborn(Steps({{SIGTERM, absl::InfiniteDuration()}}));
  tree.Stop();
  EXPECT_TRUE(GoesQuiet());
  // A member that freezes the leaf changes cgroup.events.
  rig::WriteAll(tree.leaf() + "/cgroup.freeze", "1");
  EXPECT_TRUE(GoesQuiet());
}

TEST_F(TeardownTest, NothingIsReadyWhileALeakedMemberHasItsGracePeriod) {
  Tree tree = Spawn(Escapee("ignore-signals", File("ready"), "exit"),
                    Steps({{SIGTERM, absl::InfiniteDuration()}}));
  EXPECT_TRUE(rig::Eventually([&] {
    EXPECT_TRUE(supervisor_->Dispatch().ok());
    return tree.ending();
  }));
  EXPECT_TRUE(GoesQuiet());
}

// Until a dead leader's tracer has waited for it, its parent cannot.
class TracedLeaderTest : public TeardownTest {
 protected:
  // A process that traces the leader and never waits for it.
  void Trace(pid_t leader) {
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    tracer_ = fork();
    if (tracer_ == 0) {
      bool traced = ptrace(PTRACE_SEIZE, leader, nullptr, nullptr) == 0;
      if (write(fds[1], traced ? "1" : "0", 1) != 1) _exit(1);
      for (;;) pause();
    }
    char traced = 0;
    EXPECT_EQ(read(fds[0], &traced, 1), 1);
    close(fds[0]);
    close(fds[1]);
    if (traced != '1') GTEST_SKIP() << "ptrace is not allowed here";
  }

  void TearDown() override {
    if (tracer_ > 0) {
      kill(tracer_, SIGKILL);
      waitpid(tracer_, nullptr, 0);
      // Until then the leader's end was not to be waited for.
      while (waitpid(-1, nullptr, WNOHANG) > 0) continue;
    }
    TeardownTest::TearDown();
  }

  pid_t tracer_ = 0;
};

TEST_F(TracedLeaderTest, ByAStranger) {
  Tree tree = Spawn(kSleeper);
  Trace(tree.leader());
  if (IsSkipped()) return;
  ScopedLimit limit("drain", absl::Milliseconds(100));
  EXPECT_TRUE(tree.Kill().ok());
  EXPECT_TRUE(GoesQuiet());
  supervisor_.reset();
}

TEST_F(TracedLeaderTest, ByAMemberWhichIsKilledWithTheRest) {
  Tree tree = Spawn(kSleeper);
  Trace(tree.leader());
  if (IsSkipped()) return;
  rig::WriteAll(tree.leaf() + "/cgroup.procs", absl::StrCat(tracer_));
  kill(tree.leader(), SIGKILL);
  EXPECT_EQ(tree.Wait(absl::Seconds(20)).value(), true);
  EXPECT_TRUE(tree.report().drained);
}

}  // namespace
}  // namespace treekill
