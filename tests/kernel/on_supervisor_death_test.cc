// What is to become of a tree when its supervisor dies: all that can be asked
// for, and what the report says of it.
#include <thread>

#include "tests/kernel/guardian_fixture.h"

namespace treekill {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class OnSupervisorDeathTest : public GuardianTest {
 protected:
  // A host with one tree: a leader and a member with a session of its own.
  // Returns both.
  std::vector<pid_t> StartPair(const std::string& death) {
    std::vector<pid_t> pids = StartHost(
        {"--death=" + death}, Escapee("setsid", File("member"), "stay"));
    std::vector<pid_t> members = ReadyMembers(File("member"));
    pids.insert(pids.end(), members.begin(), members.end());
    EXPECT_THAT(pids, SizeIs(2));
    return pids;
  }

  void KillHost() {
    host().Signal(SIGKILL);
    host().Wait();
  }

  std::string OnlyLeaf() {
    std::vector<std::string> leaves = rig::LeftLeaves();
    EXPECT_THAT(leaves, SizeIs(1));
    return leaves.empty() ? "" : leaves[0];
  }

  bool Dies(pid_t pid) {
    return rig::Eventually([&] { return !IsAlive(pid); });
  }

  // Spawns it in a thread that then ends.
  Tree SpawnInThread(const TreeOptions& options) {
    Tree tree;
    std::thread([&] { tree = Spawn(kSleeper, options); }).join();
    return tree;
  }
};

TEST_F(OnSupervisorDeathTest, LeaveLetsItLiveAndKeepsItFromTheCollector) {
  std::vector<pid_t> pids = StartPair("leave");
  EXPECT_THAT(GuardiansOf(host().pid()), IsEmpty());
  KillHost();
  EXPECT_THAT(CollectGarbage({.below = own()}).value(), IsEmpty());
  std::string leaf = OnlyLeaf();
  EXPECT_EQ(kernel::ReadAttribute(leaf, "user.treekill.keep"), "1");
  // Nothing is to happen: there is no event to wait for.
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_THAT(Members(), SizeIs(3));
  for (pid_t pid : pids) EXPECT_TRUE(IsAlive(pid));
  for (pid_t pid : pids) Signal(pid, SIGKILL);
  EXPECT_TRUE(rig::Eventually([&] { return rmdir(leaf.c_str()) == 0; }));
}

TEST_F(OnSupervisorDeathTest, KillLeaderLeavesTheRestToTheCollector) {
  std::vector<pid_t> pids = StartPair("kill-leader");
  ASSERT_THAT(pids, SizeIs(2));
  EXPECT_THAT(GuardiansOf(host().pid()), IsEmpty());
  pid_t supervisor = host().pid();
  std::string leaf = OnlyLeaf();
  KillHost();
  EXPECT_TRUE(Dies(pids[0]));
  EXPECT_TRUE(IsAlive(pids[1]));
  const std::vector<Garbage> garbage = CollectGarbage({.below = own()}).value();
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_EQ(garbage[0].leaf, leaf);
  EXPECT_EQ(garbage[0].supervisor, supervisor);
  ASSERT_THAT(garbage[0].members, SizeIs(1));
  EXPECT_EQ(garbage[0].members[0].pid, pids[1]);
  EXPECT_TRUE(garbage[0].removed) << garbage[0].error;
  EXPECT_FALSE(IsAlive(pids[1]));
}

TEST_F(OnSupervisorDeathTest, TheGuardianEndsWhatIsLeftOfKillTree) {
  StartPair("kill-tree");
  KillHost();
  EXPECT_TRUE(rig::Eventually([&] { return OnlyTheseAreLeft(); }));
}

// A stopped guardian leaves the leader to the kernel, or to nobody.
TEST_F(OnSupervisorDeathTest, TheParentDeathSignalIsASecondNet) {
  for (const char* when : {"main", "always", "never"}) {
    std::filesystem::remove(File("ready"));
    std::vector<pid_t> leaders =
        StartHost({absl::StrCat("--parent-signal=", when)}, kSleeper);
    ASSERT_THAT(leaders, SizeIs(1));
    pid_t guardian = AwaitGuardian(host().pid());
    Signal(guardian, SIGSTOP);
    KillHost();
    if (when == std::string("never")) {
      absl::SleepFor(absl::Milliseconds(200));
      EXPECT_TRUE(IsAlive(leaders[0]));
    } else {
      EXPECT_TRUE(Dies(leaders[0])) << when;
    }
    Signal(guardian, SIGCONT);
    EXPECT_TRUE(rig::Eventually([&] { return OnlyTheseAreLeft(); })) << when;
  }
}

TEST_F(OnSupervisorDeathTest, TheThreadThatStartedATreeMayEnd) {
  Create();
  Tree standard = SpawnInThread({});
  Tree never =
      SpawnInThread({.parent_death_signal = ParentDeathSignal::kNever});
  Tree left = SpawnInThread({.on_supervisor_death = OnSupervisorDeath::kLeave});
  Serve(absl::Milliseconds(300));
  for (const Tree* tree : {&standard, &never, &left}) {
    EXPECT_TRUE(IsAlive(tree->leader()));
    EXPECT_FALSE(tree->ending());
  }
}

TEST_F(OnSupervisorDeathTest, TheThreadThatStartedATreeMustNotEnd) {
  Create();
  for (const TreeOptions& options :
       {TreeOptions{.parent_death_signal = ParentDeathSignal::kAlways},
        TreeOptions{.on_supervisor_death = OnSupervisorDeath::kKillLeader},
        TreeOptions{.on_supervisor_death = OnSupervisorDeath::kKillLeader,
        .parent_death_signal = ParentDeathSignal::kNever}}) {
    Tree tree = SpawnInThread(options);
    ASSERT_TRUE(WaitForEnd(tree));
    EXPECT_EQ(tree.report().status.signal(), SIGKILL);
    EXPECT_EQ(tree.report().reason, EndReason::kLeaderExited);
  }
}

// ---------------------------------------------------------------- the report

struct Asked {
  Containment containment = Containment::kCgroup;
  OnSupervisorDeath death = OnSupervisorDeath::kKillTree;
  ParentDeathSignal signal = ParentDeathSignal::kFromMainThread;
  bool in_thread = false;
};

class ReportedDeathTest : public OnSupervisorDeathTest {
 protected:
  OnSupervisorDeath Reported(const Asked& asked) {
    Create({.containment = asked.containment});
    TreeOptions options{.on_supervisor_death = asked.death,
                        .parent_death_signal = asked.signal};
    Tree tree =
        asked.in_thread ? SpawnInThread(options) : Spawn(kSleeper, options);
    if (!tree.valid()) return OnSupervisorDeath::kLeave;
    bool guarded =
        tree.report().on_supervisor_death == OnSupervisorDeath::kKillTree;
    EXPECT_TRUE(tree.report().guardian_error.ok());
    EXPECT_EQ(AnyGuardian(), guarded);
    return tree.report().on_supervisor_death;
  }

  static bool AnyGuardian() {
    for (const kernel::ProcessStat& child : ChildrenOf(getpid())) {
      if (child.comm.substr(0, 8) == "treekill") return true;
    }
    return false;
  }
};

TEST_F(ReportedDeathTest, OfAGuardedTree) {
  EXPECT_EQ(Reported({}), OnSupervisorDeath::kKillTree);
  EXPECT_EQ(Reported({.signal = ParentDeathSignal::kNever}),
            OnSupervisorDeath::kKillTree);
  EXPECT_EQ(Reported({.in_thread = true}), OnSupervisorDeath::kKillTree);
}

TEST_F(ReportedDeathTest, OfOneWithLess) {
  EXPECT_EQ(Reported({.death = OnSupervisorDeath::kKillLeader}),
            OnSupervisorDeath::kKillLeader);
  EXPECT_EQ(Reported({.death = OnSupervisorDeath::kLeave}),
            OnSupervisorDeath::kLeave);
  EXPECT_EQ(Reported({.death = OnSupervisorDeath::kLeave,
                      .signal = ParentDeathSignal::kAlways}),
            OnSupervisorDeath::kLeave);
}

TEST_F(ReportedDeathTest, OfWeakerContainments) {
  for (Containment containment :
       {Containment::kProcess, Containment::kProcessGroup}) {
    EXPECT_EQ(Reported({.containment = containment}),
              OnSupervisorDeath::kKillLeader);
    EXPECT_EQ(Reported({.containment = containment,
                        .signal = ParentDeathSignal::kNever}),
              OnSupervisorDeath::kLeave);
    EXPECT_EQ(Reported({.containment = containment, .in_thread = true}),
              OnSupervisorDeath::kLeave);
    EXPECT_EQ(Reported({.containment = containment,
                        .death = OnSupervisorDeath::kLeave}),
              OnSupervisorDeath::kLeave);
  }
}

}  // namespace
}  // namespace treekill
