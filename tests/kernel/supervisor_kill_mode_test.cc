// Who gets the signals of a teardown, and whom each containment reaches.
#include <optional>
#include <set>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

using ::testing::SizeIs;

// Over by the time that it is looked at, unless the timers are paused.
constexpr absl::Duration kGrace = absl::Milliseconds(1);

class KillModeTest : public KernelTest {
 protected:
  Supervisor Create(const SupervisorOptions& options = SupervisorOptions()) {
    absl::StatusOr<Supervisor> supervisor = Supervisor::Create(options);
    EXPECT_TRUE(supervisor.ok()) << supervisor.status();
    return *std::move(supervisor);
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  // A shell that notes a SIGTERM under its name and exits.
  std::string Noting(const std::string& name) {
    return absl::StrCat("trap 'echo >", File("got-" + name),
                        "; exit 0' TERM; echo >", File("up-" + name),
                        "; while :; do sleep 0.05; done");
  }

  // A leader, a child in its group, and one in a session of its own.
  Tree SpawnThree(Supervisor& supervisor, KillMode mode) {
    rig::WriteAll(File("child"), Noting("child"));
    rig::WriteAll(File("other"), Noting("other"));
    absl::StatusOr<Tree> tree = supervisor.Spawn(
        Shell(absl::StrCat("sh ", File("child"), " & setsid sh ", File("other"),
                           " & ", Noting("leader"))),
        TreeOptions{
            .teardown = {.kill_mode = mode, .steps = {{SIGTERM, kGrace}}}});
    EXPECT_TRUE(tree.ok()) << tree.status();
    for (const char* name : {"leader", "child", "other"}) {
      std::string up = File(absl::StrCat("up-", name));
      EXPECT_TRUE(rig::Eventually([&] { return !rig::ReadAll(up).empty(); }));
    }
    return tree.ok() ? *std::move(tree) : Tree();
  }

  std::set<std::string> Signalled() {
    std::set<std::string> names;
    for (const char* name : {"leader", "child", "other"}) {
      std::string got = File(absl::StrCat("got-", name));
      if (!rig::ReadAll(got).empty()) names.insert(name);
    }
    return names;
  }

  // Stops the three, of which `expected` are to get the signal.
  TreeReport StopThree(KillMode mode, const std::set<std::string>& expected) {
    Supervisor supervisor = Create();
    Tree tree = SpawnThree(supervisor, mode);
    tree.Stop();
    // Until those that have had a signal have ended.
    tree.PauseTimers();
    EXPECT_TRUE(rig::Eventually([&] {
      EXPECT_TRUE(supervisor.Dispatch().ok());
      return tree.ended() ||
             (tree.leader_ended() && Signalled().size() == expected.size());
    }));
    tree.ResumeTimers();
    EXPECT_TRUE(WaitForEnd(tree));
    EXPECT_TRUE(tree.report().drained);
    EXPECT_TRUE(tree.report().status.success());
    EXPECT_EQ(Signalled(), expected);
    return tree.report();
  }

  // Has the leader of an escapee killed under this containment. Returns the
  // member, which may live on.
  pid_t KillUnder(Containment containment, const std::string& mode) {
    Supervisor supervisor = Create({.containment = containment});
    EXPECT_EQ(supervisor.containment(), containment);
    absl::StatusOr<Tree> tree = supervisor.Spawn(Escapee(mode, File("ready")));
    EXPECT_TRUE(tree.ok()) << tree.status();
    std::vector<pid_t> members = ReadyMembers(File("ready"));
    EXPECT_THAT(members, SizeIs(1));
    EXPECT_EQ(tree->containment(), containment);
    EXPECT_EQ(tree->kill_fd(), -1);
    EXPECT_EQ(tree->leaf(), "");
    EXPECT_TRUE(tree->Kill().ok());
    EXPECT_TRUE(WaitForEnd(*tree));
    EXPECT_EQ(tree->report().status.signal(), SIGKILL);
    EXPECT_EQ(tree->report().containment, containment);
    EXPECT_FALSE(IsAlive(tree->leader()));
    return members.empty() ? 0 : members[0];
  }

  void EndSurvivor(pid_t pid) {
    EXPECT_TRUE(IsAlive(pid));
    if (pid > 0) kill(pid, SIGKILL);
    EXPECT_TRUE(rig::Eventually([&] { return !IsAlive(pid); }));
  }

  rig::TempDir directory_;
};

TEST_F(KillModeTest, ControlGroupIsEverybody) {
  StopThree(KillMode::kControlGroup, {"child", "leader", "other"});
}

TEST_F(KillModeTest, MixedIsTheLeaderAndSigkillForTheOthersAfterIt) {
  TreeReport report = StopThree(KillMode::kMixed, {"leader"});
  EXPECT_TRUE(report.killed);
}

TEST_F(KillModeTest, ProcessGroupIsTheLeadersGroup) {
  TreeReport report = StopThree(KillMode::kProcessGroup, {"child", "leader"});
  EXPECT_TRUE(report.killed);
}

TEST_F(KillModeTest, ProcessIsTheLeader) {
  TreeReport report = StopThree(KillMode::kProcess, {"leader"});
  EXPECT_TRUE(report.killed);
}

TEST_F(KillModeTest, ProcessContainmentReachesTheLeaderOnly) {
  EndSurvivor(KillUnder(Containment::kProcess, "child"));
}

TEST_F(KillModeTest, ProcessGroupContainmentReachesTheGroup) {
  EXPECT_FALSE(IsAlive(KillUnder(Containment::kProcessGroup, "child")));
}

TEST_F(KillModeTest, ProcessGroupContainmentDoesNotReachANewSession) {
  EndSurvivor(KillUnder(Containment::kProcessGroup, "setsid"));
}

TEST_F(KillModeTest, ProcessGroupContainmentEndsWhatTheLeaderLeaves) {
  Supervisor supervisor = Create({.containment = Containment::kProcessGroup});
  absl::StatusOr<Tree> tree =
      supervisor.Spawn(Escapee("child", File("ready"), "exit"));
  ASSERT_TRUE(tree.ok()) << tree.status();
  ASSERT_TRUE(WaitForEnd(*tree));
  EXPECT_EQ(tree->report().leaked_count, 1);
  EXPECT_TRUE(tree->report().status.success());
  EXPECT_TRUE(tree->report().drained);
  for (pid_t pid : ReadyMembers(File("ready"))) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(KillModeTest, TheWeakContainmentsTakeStepsAndTimeouts) {
  for (Containment containment :
       {Containment::kProcess, Containment::kProcessGroup}) {
    Supervisor supervisor = Create({.containment = containment});
    for (int signal : {SIGTERM, SIGINT}) {
      absl::StatusOr<Tree> tree =
          supervisor.Spawn(Command{.argv = {"sleep", "600"}},
                           TreeOptions{.timeout = absl::Milliseconds(100),
                                       .timeout_signal = signal});
      ASSERT_TRUE(tree.ok()) << tree.status();
      ASSERT_TRUE(WaitForEnd(*tree));
      EXPECT_EQ(tree->report().status.signal(), signal);
      EXPECT_EQ(tree->report().reason, EndReason::kTimeout);
      EXPECT_FALSE(tree->report().killed);
    }
  }
}

TEST_F(KillModeTest, TheWeakContainmentsFailCleanly) {
  for (Containment containment :
       {Containment::kProcess, Containment::kProcessGroup}) {
    Supervisor supervisor = Create({.containment = containment});
    absl::Status status =
        supervisor.Spawn(Command{.argv = {"no-such-program"}}).status();
    EXPECT_EQ(ErrnoOf(status), ENOENT) << status;
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  }
}

TEST_F(KillModeTest, AutoIsTheStrongestAndItSaysWhere) {
  Supervisor supervisor = Create({.require = Containment::kCgroup});
  EXPECT_EQ(supervisor.containment(), Containment::kCgroup);
  EXPECT_NE(supervisor.placement().find(own()), std::string::npos);
}

TEST_F(KillModeTest, RequireRefusesLess) {
  absl::Status status =
      Supervisor::Create({.containment = Containment::kProcess,
                          .require = Containment::kProcessGroup})
          .status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(Supervisor::Create({.containment = Containment::kProcessGroup,
                                  .require = Containment::kProcessGroup})
                  .ok());
  EXPECT_TRUE(Supervisor::Create({.containment = Containment::kProcessGroup,
                                  .require = Containment::kProcess})
                  .ok());
}

}  // namespace
}  // namespace treekill
