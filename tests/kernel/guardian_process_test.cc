// The guardian's own life: one a Supervisor, started, told, replaced, ended.
#include <algorithm>
#include <iostream>

#include "tests/kernel/guardian_fixture.h"
#include "treekill/kernel/time_limit.h"

namespace treekill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Far longer than a guardian may take to read (10 s).
constexpr absl::Duration kNotForEver = absl::Minutes(1);

class GuardianProcessTest : public GuardianTest {
 protected:
  void SetUp() override {
    GuardianTest::SetUp();
    if (HasFatalFailure() || IsSkipped()) return;
    Create();
  }

  pid_t Guardian() { return AwaitGuardian(getpid()); }

  // Runs a command to its end, and returns how long all that took.
  absl::Duration RunOne() {
    absl::Duration began = kernel::MonotonicNow();
    Tree tree = Spawn(Command{.argv = {"true"}});
    if (tree.valid()) WaitForEnd(tree);
    return kernel::MonotonicNow() - began;
  }

  void RunManyInTurn(int trees);
};

TEST_F(GuardianProcessTest, ThereIsOneFromTheFirstTreeOn) {
  EXPECT_THAT(ChildrenOf(getpid()), IsEmpty());
  Tree tree = Spawn(kSleeper);
  pid_t guardian = Guardian();
  Tree other = Spawn(kSleeper);
  tree = Tree();
  EXPECT_THAT(GuardiansOf(getpid()), ElementsAre(guardian));
  EXPECT_EQ(getsid(guardian), guardian);
  EXPECT_THAT(rig::ReadAll(absl::StrCat("/proc/", guardian, "/cmdline")),
              HasSubstr(absl::StrCat("treekill: guardian of ", getpid(), ",")));
  EXPECT_EQ(
      std::filesystem::read_symlink(absl::StrCat("/proc/", guardian, "/cwd")),
      "/");
}

TEST_F(GuardianProcessTest, TheDestructorEndsIt) {
  Tree tree = Spawn(kSleeper);
  pid_t guardian = Guardian();
  supervisor_.reset();
  EXPECT_EQ(kill(guardian, 0), -1);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(tree.report().on_supervisor_death, OnSupervisorDeath::kKillTree);
}

TEST_F(GuardianProcessTest, EachSupervisorHasItsOwn) {
  Tree tree = Spawn(kSleeper);
  absl::StatusOr<Supervisor> other = Supervisor::Create();
  ASSERT_TRUE(other.ok()) << other.status();
  absl::StatusOr<Tree> others = other->Spawn(kSleeper);
  ASSERT_TRUE(others.ok()) << others.status();
  EXPECT_TRUE(
      rig::Eventually([] { return GuardiansOf(getpid()).size() == 2; }));
  supervisor_.reset();
  EXPECT_THAT(GuardiansOf(getpid()), SizeIs(1));
  EXPECT_TRUE(IsAlive(others->leader()));
}

TEST_F(GuardianProcessTest, OneThatDiesIsReplacedAndReaped) {
  Tree tree = Spawn(kSleeper);
  pid_t former = Guardian();
  Signal(former, SIGKILL);
  EXPECT_NE(ServeUntilReplaced(former), 0);
  EXPECT_EQ(kill(former, 0), -1);
  EXPECT_EQ(tree.report().on_supervisor_death, OnSupervisorDeath::kKillTree);
  EXPECT_TRUE(tree.report().guardian_error.ok());
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::ZeroDuration()));
  EXPECT_TRUE(IsAlive(tree.leader()));
}

TEST_F(GuardianProcessTest, WithoutATreeItIsReplacedByTheNextSpawn) {
  RunOne();
  pid_t former = Guardian();
  Signal(former, SIGKILL);
  EXPECT_TRUE(IsReadable(supervisor_->fd(), absl::Minutes(1)));
  EXPECT_TRUE(supervisor_->Dispatch().ok());
  EXPECT_THAT(ChildrenOf(getpid()), IsEmpty());
  Tree tree = Spawn(kSleeper);
  EXPECT_NE(Guardian(), former);
}

TEST_F(GuardianProcessTest, ASpawnReplacesOneThatHasJustDied) {
  Tree tree = Spawn(kSleeper);
  pid_t former = Guardian();
  Signal(former, SIGKILL);
  ASSERT_TRUE(rig::Eventually([&] { return !IsAlive(former); }));
  Tree other = Spawn(kSleeper);
  EXPECT_NE(AwaitGuardian(getpid(), former), 0);
  EXPECT_EQ(other.report().on_supervisor_death, OnSupervisorDeath::kKillTree);
}

TEST_F(GuardianProcessTest, OneThatIsStoppedDoesNotBlockForLong) {
  Tree tree = Spawn(kSleeper);
  pid_t former = Guardian();
  Signal(former, SIGSTOP);
  absl::Duration longest;
  for (int i = 0; i < 300; ++i) longest = std::max(longest, RunOne());
  std::cout << "the longest start took " << longest << "\n";
  EXPECT_LE(longest, kNotForEver);
  EXPECT_NE(Guardian(), former) << "300 trees fit into the channel";
  EXPECT_TRUE(IsAlive(tree.leader()));
}

void GuardianProcessTest::RunManyInTurn(int trees) {
  RunOne();
  pid_t guardian = Guardian();
  size_t before = 0;
  // It reads what it was told when it gets to run.
  auto is_steady = [&] {
    size_t last = std::exchange(before, DescriptorCount(guardian));
    return last == before;
  };
  EXPECT_TRUE(rig::Eventually(is_steady));
  for (int i = 0; i < trees; ++i) RunOne();
  EXPECT_EQ(Guardian(), guardian);
  EXPECT_TRUE(rig::Eventually([&] {
    return DescriptorCount(guardian) <= before;
  })) << DescriptorCount(guardian)
      << " and before " << before;
}

TEST_F(GuardianProcessTest, ManyTreesInTurnLeaveItNoDescriptor) {
  RunManyInTurn(20);
}

using ThoroughGuardianProcessTest = GuardianProcessTest;

TEST_F(ThoroughGuardianProcessTest, ManyTreesInTurnLeaveItNoDescriptor) {
  RunManyInTurn(300);
}

TEST_F(GuardianProcessTest, AForkedCopyOfTheHostDoesNotHarmIt) {
  Tree tree = Spawn(kSleeper);
  pid_t guardian = Guardian();
  auto drop_copies = [&]() -> std::string {
    tree = Tree();
    supervisor_.reset();
    return "";
  };
  EXPECT_EQ(InChild(drop_copies), "");
  EXPECT_EQ(InChild([] { return std::string(); }), "");
  EXPECT_TRUE(IsAlive(tree.leader()));
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::ZeroDuration()));
  RunOne();
  EXPECT_EQ(Guardian(), guardian);
  tree.Stop();
  EXPECT_TRUE(WaitForEnd(tree));
}

// ------------------------------------------------------------------- faults

class GuardianFaultTest : public GuardianProcessTest {
 protected:
  void SetUp() override {
    GuardianProcessTest::SetUp();
    kernel::SetTimeLimitHookForTesting(
        [](const char* name, absl::Duration usual) {
          bool is_again = strcmp(name, "guardian-again") == 0;
          return is_again ? absl::Milliseconds(20) : usual;
        });
  }

  void TearDown() override {
    kernel::SetTimeLimitHookForTesting(nullptr);
    GuardianProcessTest::TearDown();
  }

  absl::Status FailedSpawn() {
    absl::Status status =
        supervisor_->Spawn(Shell("echo >" + File("ran"))).status();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(rig::ReadAll(File("ran")), "");
    EXPECT_THAT(ChildrenOf(getpid()), IsEmpty());
    EXPECT_FALSE(AnyLeaf());
    return status;
  }
};

TEST_F(GuardianFaultTest, NoChannel) {
  ScopedFault fault("socketpair", EMFILE);
  absl::Status status = FailedSpawn();
  EXPECT_EQ(CallOf(status), "socketpair") << status;
  EXPECT_EQ(ErrnoOf(status), EMFILE);
}

TEST_F(GuardianFaultTest, NoProcess) {
  ScopedFault fault("clone3", EAGAIN);
  absl::Status status = FailedSpawn();
  EXPECT_EQ(CallOf(status), "clone3") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("guardian"));
}

TEST_F(GuardianFaultTest, NothingCanBeSent) {
  ScopedFault fault("sendmsg", EPIPE);
  absl::Status status = FailedSpawn();
  EXPECT_EQ(CallOf(status), "sendmsg") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("guardian"));
}

TEST_F(GuardianFaultTest, OneMessageIsLost) {
  Tree tree = Spawn(kSleeper);
  pid_t former = Guardian();
  ScopedFault fault("sendmsg", EPIPE, /*times=*/1);
  Tree other = Spawn(kSleeper);
  EXPECT_NE(AwaitGuardian(getpid(), former), 0);
  EXPECT_EQ(other.report().on_supervisor_death, OnSupervisorDeath::kKillTree);
}

TEST_F(GuardianFaultTest, OneMessageIsLostAtTheEndOfATree) {
  Tree tree = Spawn(kSleeper);
  Tree other = Spawn(kSleeper);
  pid_t former = Guardian();
  ScopedFault fault("sendmsg", EPIPE, /*times=*/1);
  other.Stop();
  EXPECT_TRUE(WaitForEnd(other));
  EXPECT_NE(AwaitGuardian(getpid(), former), 0);
}

TEST_F(GuardianFaultTest, WhatCannotBeReplacedIsReportedAndTriedAgain) {
  Tree tree = Spawn(kSleeper);
  pid_t former = Guardian();
  {
    ScopedFault fault("socketpair", EMFILE);
    Signal(former, SIGKILL);
    EXPECT_TRUE(rig::Eventually([&] {
      EXPECT_TRUE(supervisor_->Dispatch().ok());
      return !tree.report().guardian_error.ok();
    }));
    EXPECT_NE(tree.report().on_supervisor_death, OnSupervisorDeath::kKillTree);
  }
  EXPECT_NE(ServeUntilReplaced(former), 0);
  EXPECT_TRUE(tree.report().guardian_error.ok());
  EXPECT_EQ(tree.report().on_supervisor_death, OnSupervisorDeath::kKillTree);
}

// The Spawn() that found it dead could not start another: the trees that there
// were before must not stay without.
TEST_F(GuardianFaultTest, AfterAFailedSpawnTheOtherTreesGetAGuardian) {
  Tree tree = Spawn(kSleeper);
  pid_t former = Guardian();
  Signal(former, SIGKILL);
  ASSERT_TRUE(rig::Eventually([&] { return !IsAlive(former); }));
  {
    ScopedFault fault("socketpair", EMFILE);
    EXPECT_FALSE(supervisor_->Spawn(kSleeper).ok());
    EXPECT_FALSE(tree.report().guardian_error.ok());
  }
  EXPECT_NE(ServeUntilReplaced(former), 0);
}

}  // namespace
}  // namespace treekill
