// The life of a tree as a user of the library sees it.
#include "treekill/supervisor.h"

#include <optional>
#include <set>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class SupervisorTest : public SupervisedTest {
 protected:
  // Spawns it, and sees it to its end.
  TreeReport Run(const Command& command, const TreeOptions& options = {}) {
    Tree tree = Spawn(command, options);
    if (!tree.valid() || !WaitForEnd(tree)) return TreeReport();
    return tree.report();
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
};

const Command kSleeper{.argv = {"sleep", "600"}};

TEST_F(SupervisorTest, ACommandThatEndsByItself) {
  Tree tree = Spawn(Shell("exit 3"), TreeOptions{.name = "a.b"});
  pid_t leader = tree.leader();
  std::string leaf = tree.leaf();
  EXPECT_THAT(leaf, StartsWith(own() + "/treekill-a.b-"));
  ASSERT_TRUE(WaitForEnd(tree));
  const TreeReport& report = tree.report();
  EXPECT_EQ(report.status.ToString(), "exit code 3");
  EXPECT_EQ(report.reason, EndReason::kLeaderExited);
  EXPECT_TRUE(report.drained);
  EXPECT_FALSE(report.killed);
  EXPECT_EQ(report.first_signal, 0);
  EXPECT_EQ(report.leaked_count, 0);
  EXPECT_EQ(report.strays_killed, 0);
  EXPECT_THAT(report.leaked, IsEmpty());
  EXPECT_THAT(report.survivors, IsEmpty());
  EXPECT_THAT(report.errors, IsEmpty());
  EXPECT_EQ(report.name, "a.b");
  EXPECT_THAT(report.argv, ElementsAre("/bin/sh", "-c", "exit 3"));
  EXPECT_EQ(report.containment, Containment::kCgroup);
  EXPECT_EQ(report.leaf, leaf);
  EXPECT_EQ(report.leader, leader);
  EXPECT_FALSE(kernel::DirectoryExists(leaf));
}

TEST_F(SupervisorTest, TimesAndUsage) {
  absl::Time before = absl::Now();
  TreeReport report =
      Run(Shell("i=0; while [ $i -lt 20000 ]; do "
                "i=$((i+1)); done"));
  EXPECT_GE(report.started, before);
  EXPECT_LE(report.started, absl::Now());
  EXPECT_GT(report.run_time, absl::ZeroDuration());
  EXPECT_GE(report.teardown_time, absl::ZeroDuration());
  EXPECT_GT(report.user_time + report.system_time, absl::ZeroDuration());
  EXPECT_GT(report.max_rss_kib, 0);
}

TEST_F(SupervisorTest, ACommandThatDiesOfASignal) {
  TreeReport report = Run(Shell("kill -USR1 $$"));
  EXPECT_EQ(report.status.signal(), SIGUSR1);
  EXPECT_EQ(report.reason, EndReason::kLeaderExited);
  EXPECT_FALSE(report.killed);
}

TEST_F(SupervisorTest, ALeaderThatSomebodyElseKills) {
  Tree tree = Spawn(Shell("sleep 600 & sleep 600"));
  kill(tree.leader(), SIGKILL);
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGKILL);
  EXPECT_EQ(tree.report().reason, EndReason::kLeaderExited);
  EXPECT_TRUE(tree.report().drained);
}

TEST_F(SupervisorTest, WhatTheLeaderLeavesIsReportedAndKilled) {
  TreeReport report =
      Run(Escapee("double-fork", File("ready"), "exit"),
          TreeOptions{.teardown = {.steps = {{SIGTERM, absl::Minutes(1)}}}});
  EXPECT_TRUE(report.status.success());
  EXPECT_EQ(report.reason, EndReason::kLeaderExited);
  EXPECT_EQ(report.first_signal, SIGTERM);
  EXPECT_TRUE(report.drained);
  EXPECT_FALSE(report.killed);
  EXPECT_EQ(report.leaked_count, 1);
  ASSERT_THAT(report.leaked, SizeIs(1));
  const Member& member = report.leaked[0];
  EXPECT_THAT(ReadyMembers(File("ready")), ElementsAre(member.pid));
  EXPECT_EQ(member.name, "escapee");
  EXPECT_NE(member.session, getsid(0));
  EXPECT_NE(member.parent, report.leader);
  EXPECT_GT(member.start_time, 0u);
  EXPECT_FALSE(IsAlive(member.pid));
}

TEST_F(SupervisorTest, TheLeakedAreCountedAndNotDescribedIfNobodyAsks) {
  TreeReport report = Run(Escapee("double-fork", File("ready"), "exit"),
                          TreeOptions{.describe_members = false});
  EXPECT_EQ(report.leaked_count, 1);
  EXPECT_THAT(report.leaked, IsEmpty());
}

TEST_F(SupervisorTest, Members) {
  Tree tree = Spawn(Escapee("nested", File("ready")));
  std::vector<pid_t> expected = ReadyMembers(File("ready"));
  expected.push_back(tree.leader());
  absl::StatusOr<std::vector<Member>> members = tree.Members();
  ASSERT_TRUE(members.ok()) << members.status();
  std::set<pid_t> pids;
  for (const Member& member : *members) pids.insert(member.pid);
  EXPECT_EQ(pids, std::set<pid_t>(expected.begin(), expected.end()));
  EXPECT_TRUE(tree.Kill().ok());
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_THAT(tree.Members().value(), IsEmpty());
}

TEST_F(SupervisorTest, TheNextCommandIsBornInItsOwnLeaf) {
  Tree first = Spawn(kSleeper, TreeOptions{.name = "x"});
  Tree second = Spawn(kSleeper, TreeOptions{.name = "x"});
  EXPECT_NE(first.leaf(), second.leaf());
  EXPECT_THAT(first.Members().value(), SizeIs(1));
  EXPECT_TRUE(first.Kill().ok());
  ASSERT_TRUE(WaitForEnd(first));
  EXPECT_FALSE(second.ended());
  EXPECT_TRUE(IsAlive(second.leader()));
}

TEST_F(SupervisorTest, WaitGivesUpAfterItsTime) {
  Tree tree = Spawn(kSleeper);
  EXPECT_EQ(tree.Wait(absl::ZeroDuration()).value(), false);
  EXPECT_EQ(tree.Wait(absl::Milliseconds(50)).value(), false);
  EXPECT_EQ(tree.Wait(-absl::Seconds(1)).value(), false);
  EXPECT_FALSE(tree.ending() || tree.ended());
}

TEST_F(SupervisorTest, WaitForOneServesTheOthers) {
  Tree other = Spawn(Shell("exit 0"));
  ASSERT_TRUE(IsReadable(other.leader_pidfd(), absl::Seconds(60)));
  Tree tree = Spawn(Shell("sleep 0.2"));
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(other.ended());
}

TEST_F(SupervisorTest, NothingIsReadyWhileNothingHappens) {
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::Milliseconds(50)));
  Tree tree = Spawn(kSleeper, TreeOptions{.timeout = absl::Hours(1)});
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::Milliseconds(200)));
}

TEST_F(SupervisorTest, ATimeoutAtTheEndOfTime) {
  Tree tree =
      Spawn(kSleeper, TreeOptions{.timeout = absl::Hours(24 * 365 * 1000)});
  EXPECT_EQ(tree.Wait(absl::Milliseconds(50)).value(), false);
  EXPECT_FALSE(tree.ending());
}

TEST_F(SupervisorTest, FiftyTreesInAForeignLoop) {
  constexpr int kTrees = 50;
  std::vector<Tree> trees;
  for (int i = 0; i < kTrees; ++i) {
    trees.push_back(Spawn(Shell(absl::StrCat("sleep 600 & exit ", i))));
  }
  absl::Duration end = kernel::MonotonicNow() + absl::Minutes(2);
  int left = kTrees;
  while (left > 0 && kernel::MonotonicNow() < end) {
    ASSERT_TRUE(IsReadable(supervisor_->fd(), absl::Seconds(60)));
    ASSERT_TRUE(supervisor_->Dispatch().ok());
    left = 0;
    for (const Tree& tree : trees) left += tree.ended() ? 0 : 1;
  }
  EXPECT_EQ(left, 0);
  for (int i = 0; i < kTrees; ++i) {
    EXPECT_EQ(trees[i].report().status.ToString(),
              absl::StrCat("exit code ", i));
    EXPECT_TRUE(trees[i].report().drained);
    EXPECT_EQ(trees[i].report().leaked_count, 1);
  }
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::Milliseconds(50)));
}

TEST_F(SupervisorTest, AHandleThatIsDroppedKillsItsTree) {
  pid_t leader = 0;
  std::vector<pid_t> members;
  {
    Tree tree = Spawn(Escapee("ignore-signals", File("ready")));
    leader = tree.leader();
    members = ReadyMembers(File("ready"));
  }
  EXPECT_TRUE(rig::Eventually([&] {
    EXPECT_TRUE(supervisor_->Dispatch().ok());
    return rig::LeftLeaves().empty();
  }));
  EXPECT_FALSE(IsAlive(leader));
  ASSERT_THAT(members, SizeIs(1));
  EXPECT_FALSE(IsAlive(members[0]));
}

TEST_F(SupervisorTest, AssigningToAHandleDropsWhatItHeld) {
  Tree tree = Spawn(kSleeper);
  pid_t leader = tree.leader();
  tree = Spawn(kSleeper);
  EXPECT_TRUE(rig::Eventually([&] {
    EXPECT_TRUE(supervisor_->Dispatch().ok());
    return !IsAlive(leader);
  }));
  EXPECT_TRUE(IsAlive(tree.leader()));
  Tree moved = std::move(tree);
  EXPECT_TRUE(moved.valid());
  EXPECT_FALSE(tree.valid());
}

TEST_F(SupervisorTest, ItsEndIsTheEndOfEveryTree) {
  Tree tree = Spawn(Escapee("ignore-signals", File("a")));
  Tree other = Spawn(Shell("trap '' TERM; sleep 600 & sleep 600"));
  std::vector<pid_t> pids = ReadyMembers(File("a"));
  pids.insert(pids.end(), {tree.leader(), other.leader()});
  other = Tree();
  supervisor_.reset();
  for (pid_t pid : pids) EXPECT_FALSE(IsAlive(pid)) << pid;
  EXPECT_THAT(rig::LeftLeaves(), IsEmpty());
  EXPECT_TRUE(tree.ended());
  EXPECT_TRUE(tree.report().drained);
  EXPECT_EQ(tree.report().reason, EndReason::kKilled);
  EXPECT_EQ(tree.Wait().value(), true);
  EXPECT_TRUE(tree.Kill().ok());
  tree.Stop();
}

TEST_F(SupervisorTest, ItMovesWithItsTrees) {
  Tree tree = Spawn(kSleeper);
  Supervisor moved = *std::move(supervisor_);
  supervisor_.reset();
  EXPECT_TRUE(IsAlive(tree.leader()));
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
}

TEST_F(SupervisorTest, TwoAtOnceAreIndependent) {
  absl::StatusOr<Supervisor> other = Supervisor::Create();
  ASSERT_TRUE(other.ok()) << other.status();
  Tree tree = Spawn(kSleeper);
  absl::StatusOr<Tree> others = other->Spawn(kSleeper);
  ASSERT_TRUE(others.ok()) << others.status();
  supervisor_.reset();
  EXPECT_TRUE(tree.ended());
  EXPECT_TRUE(IsAlive(others->leader()));
}

TEST_F(SupervisorTest, AFailedStartSaysWhatFailedAndLeavesNothing) {
  auto fail = [&](const Command& command) {
    absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
    absl::Status status = supervisor->Spawn(command).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(rig::LeftLeaves(), IsEmpty());
    // But for its guardian.
    supervisor = absl::CancelledError();
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
    return status;
  };
  absl::Status status = fail(Command{.argv = {"no-such-program"}});
  EXPECT_EQ(CallOf(status), "execve") << status;
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-program"));
  status = fail(Command{.argv = {"/etc/passwd"}});
  EXPECT_EQ(CallOf(status), "execve") << status;
  EXPECT_EQ(ErrnoOf(status), EACCES);
  status = fail(Command{.argv = {"true"}, .working_directory = "/no/such"});
  EXPECT_EQ(CallOf(status), "chdir") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such"));
  status = fail(Command{.argv = {"true"}, .extra_fds = {{999, 7}}});
  EXPECT_EQ(ErrnoOf(status), EBADF) << status;
  EXPECT_TRUE(absl::IsInvalidArgument(fail(Command())));
}

TEST_F(SupervisorTest, OptionsThatMakeNoSenseStartNothing) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      supervisor_->Spawn(kSleeper, TreeOptions{.name = "../x"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      supervisor_->Spawn(kSleeper, TreeOptions{.timeout = -absl::Seconds(1)})
          .status()));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(SupervisorTest, TheCommandGetsWhatItIsGiven) {
  std::string output = File("output");
  int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  TreeReport report =
      Run(Command{.argv = {"sh", "-c", "pwd; echo $A; echo x >&7; cat"},
                  .environment = {{"PATH=/usr/bin:/bin", "A=b"}},
                  .working_directory = "/",
                  .stdin_ = Stream::Null(),
                  .stdout_ = Stream::Fd(fd),
                  .extra_fds = {{fd, 7}}});
  close(fd);
  EXPECT_TRUE(report.status.success()) << report.status.ToString();
  EXPECT_EQ(rig::ReadAll(output), "/\nb\nx\n");
}

TEST_F(SupervisorTest, ProcessGroups) {
  Tree own_group = Spawn(kSleeper);
  EXPECT_EQ(getpgid(own_group.leader()), own_group.leader());
  Tree our_group = Spawn(kSleeper, TreeOptions{.new_process_group = false});
  EXPECT_EQ(getpgid(our_group.leader()), getpgrp());
}

TEST_F(SupervisorTest, ACopyInAForkedProcessHarmsNothing) {
  Tree tree = Spawn(kSleeper);
  auto drop_copies = [&]() -> std::string {
    tree = Tree();
    supervisor_.reset();
    return "";
  };
  EXPECT_EQ(InChild(drop_copies), "");
  EXPECT_TRUE(IsAlive(tree.leader()));
  EXPECT_TRUE(kernel::DirectoryExists(tree.leaf()));
  EXPECT_FALSE(tree.ending());
  EXPECT_FALSE(IsReadable(supervisor_->fd(), absl::Milliseconds(50)));
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
  EXPECT_TRUE(Run(Shell("exit 0")).status.success());
}

}  // namespace
}  // namespace treekill
