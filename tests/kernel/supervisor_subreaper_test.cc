// Trees of the library that are held by a subreaper: by its reaper, and never
// by this process.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <optional>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/supervisor.h"

namespace treekill {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

class SupervisorSubreaperTest : public SupervisedTest {
 protected:
  SupervisorSubreaperTest()
      : SupervisedTest({.containment = Containment::kSubreaper}) {}

  static bool IsSubreaper() {
    int is = 1;
    EXPECT_EQ(prctl(PR_GET_CHILD_SUBREAPER, &is, 0, 0, 0), 0);
    return is != 0;
  }

  static std::vector<pid_t> PidsOf(const Tree& tree) {
    std::vector<pid_t> pids;
    absl::StatusOr<std::vector<Member>> members = tree.Members();
    EXPECT_TRUE(members.ok()) << members.status();
    if (!members.ok()) return pids;
    for (const Member& member : *members) pids.push_back(member.pid);
    return pids;
  }

  static pid_t ParentOf(pid_t pid) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    return stat.has_value() ? stat->parent : 0;
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
};

TEST_F(SupervisorSubreaperTest, HoldsWhatHasGotAway) {
  Tree tree = Spawn(Escapee("double-fork", File("ready")));
  std::vector<pid_t> members = ReadyMembers(File("ready"));
  ASSERT_THAT(members, SizeIs(1));
  EXPECT_EQ(tree.containment(), Containment::kSubreaper);
  EXPECT_EQ(tree.leaf(), "");
  members.push_back(tree.leader());
  EXPECT_THAT(PidsOf(tree), UnorderedElementsAreArray(members));
  EXPECT_FALSE(IsSubreaper());
  tree.Stop();
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(tree.report().drained);
  EXPECT_EQ(tree.report().containment, Containment::kSubreaper);
  EXPECT_EQ(tree.report().status.signal(), SIGTERM);
  EXPECT_THAT(tree.report().errors, IsEmpty());
  for (pid_t pid : members) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(SupervisorSubreaperTest, TellsOfLeaksAndUsage) {
  Tree tree =
      Spawn(Shell("setsid sleep 600 & i=0\n"
                  "while [ $i -lt 20000 ]; do i=$((i+1)); done\n"
                  "exit 3"));
  ASSERT_TRUE(WaitForEnd(tree));
  const TreeReport& report = tree.report();
  EXPECT_EQ(report.status.ToString(), "exit code 3");
  EXPECT_EQ(report.reason, EndReason::kLeaderExited);
  EXPECT_EQ(report.leaked_count, 1);
  ASSERT_THAT(report.leaked, SizeIs(1));
  EXPECT_GT(report.user_time + report.system_time, absl::ZeroDuration());
  EXPECT_GT(report.max_rss_kib, 0);
  EXPECT_TRUE(report.drained);
}

// Whoever writes to it needs no supervisor to be served.
TEST_F(SupervisorSubreaperTest, TheKillDescriptorKillsAll) {
  Tree tree = Spawn(Escapee("ignore-signals", File("ready")));
  std::vector<pid_t> members = ReadyMembers(File("ready"));
  ASSERT_GE(tree.kill_fd(), 0);
  EXPECT_EQ(write(tree.kill_fd(), "1", 1), 1);
  members.push_back(tree.leader());
  for (pid_t pid : members) {
    EXPECT_TRUE(rig::Eventually([pid] { return !IsAlive(pid); }));
  }
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(tree.report().drained);
  // It is open while the handle is, and has nobody left to kill.
  EXPECT_TRUE(tree.Kill().ok());
}

TEST_F(SupervisorSubreaperTest, TreesDoNotKnowEachOther) {
  Tree one = Spawn(Escapee("daemon", File("one")));
  Tree other = Spawn(Escapee("daemon", File("other")));
  std::vector<pid_t> ones = ReadyMembers(File("one"));
  std::vector<pid_t> others = ReadyMembers(File("other"));
  others.push_back(other.leader());
  one.Stop(SIGKILL);
  ASSERT_TRUE(WaitForEnd(one));
  EXPECT_THAT(PidsOf(other), UnorderedElementsAreArray(others));
  other.Stop(SIGKILL);
  ASSERT_TRUE(WaitForEnd(other));
  EXPECT_TRUE(other.report().drained);
}

// Neither its children nor their orphans.
TEST_F(SupervisorSubreaperTest, LeavesTheHostsOwnChildrenAlone) {
  pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  Tree tree = Spawn(Shell("exit 0"));
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(IsAlive(child));
  EXPECT_EQ(kill(child, SIGKILL), 0);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  // Nobody is left to be waited for, the reaper included.
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(SupervisorSubreaperTest, TheCommandGetsItsWorld) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  kernel::UniqueFd reader(fds[0]);
  kernel::UniqueFd writer(fds[1]);
  Tree tree =
      Spawn({.argv = {"sh", "-c",
                      "pwd; echo $COLOUR; ulimit -n; echo \"$0 $1\" >&7; "
                      "ls /proc/self/fd | tr '\\n' ' '",
                      "a b", "c\nd"},
             .environment = {{"COLOUR=red", "PATH=/usr/bin:/bin"}},
             .working_directory = directory_.path(),
             .stdin_ = Stream::Null(),
             .stdout_ = Stream::Fd(writer.get()),
             .extra_fds = {{writer.get(), 7}},
             .limits = {{RLIMIT_NOFILE, 50, 60}}});
  ASSERT_TRUE(WaitForEnd(tree));
  writer.reset();
  std::string output(4096, '\0');
  ssize_t size = read(reader.get(), output.data(), output.size());
  ASSERT_GT(size, 0);
  output.resize(size);
  EXPECT_EQ(output, directory_.path() + "\nred\n50\na b c\nd\n0 1 2 3 7 ");
  // Nobody of the reaper's holds the output open.
  EXPECT_EQ(read(reader.get(), output.data(), output.size()), 0);
}

TEST_F(SupervisorSubreaperTest, WhatCannotBeStartedIsSaid) {
  absl::Status missing = supervisor_->Spawn({.argv = {"no-such"}}).status();
  EXPECT_EQ(CallOf(missing), "execve");
  EXPECT_EQ(ErrnoOf(missing), ENOENT);
  Command nowhere = Shell("exit 0");
  nowhere.working_directory = "/nowhere";
  EXPECT_EQ(CallOf(supervisor_->Spawn(nowhere).status()), "chdir");
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  Create(
      {.containment = Containment::kSubreaper, .guardian_program = "/nowhere"});
  absl::Status no_reaper = supervisor_->Spawn(Shell("exit 0")).status();
  EXPECT_EQ(CallOf(no_reaper), "exec");
  EXPECT_THAT(no_reaper.message(), HasSubstr("cannot start the reaper"));
}

TEST_F(SupervisorSubreaperTest, TheDestructorLeavesNobody) {
  Tree tree = Spawn(Escapee("subreaper", File("ready")));
  std::vector<pid_t> members = ReadyMembers(File("ready"));
  supervisor_.reset();
  for (pid_t pid : members) EXPECT_FALSE(IsAlive(pid));
  EXPECT_TRUE(tree.report().drained);
}

// Then nobody knows what is alive, and it is not said that nothing is.
TEST_F(SupervisorSubreaperTest, ALostReaperIsAnError) {
  Tree tree = Spawn(Escapee("daemon", File("ready")),
                    {.teardown = {.drain_timeout = absl::Milliseconds(300)}});
  std::vector<pid_t> members = ReadyMembers(File("ready"));
  pid_t inner = ParentOf(tree.leader());
  pid_t outer = ParentOf(inner);
  ASSERT_EQ(ParentOf(outer), getpid());
  for (pid_t pid : {outer, inner}) {
    kill(pid, SIGSTOP);
    EXPECT_TRUE(rig::Eventually([pid] {
      std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
      return stat.has_value() && stat->state == 'T';
    }));
  }
  for (pid_t pid : {outer, inner}) kill(pid, SIGKILL);
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_FALSE(tree.report().drained);
  ASSERT_THAT(tree.report().errors, Not(IsEmpty()));
  EXPECT_THAT(tree.report().errors[0].message(),
              HasSubstr("the reaper was killed"));
  EXPECT_FALSE(IsAlive(tree.leader()));
  for (pid_t pid : members) {
    kill(pid, SIGKILL);
    EXPECT_TRUE(rig::Eventually([pid] { return !IsAlive(pid); }));
  }
}

TEST_F(SupervisorSubreaperTest, AutoTakesItWhereNoCgroupCanBeMade) {
  Create({});
  kernel::SetFaultHookForTesting([](const char* call, const char*) {
    return strcmp(call, "mkdir") == 0 ? EROFS : 0;
  });
  Tree tree = Spawn(Shell("setsid sleep 600 & exit 0"));
  EXPECT_EQ(tree.containment(), Containment::kSubreaper);
  EXPECT_EQ(ErrnoOf(tree.report().containment_error), EROFS);
  EXPECT_THAT(HintOf(tree.report().containment_error), HasSubstr("podman"));
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(tree.report().drained);
  Create({.require = Containment::kCgroup});
  absl::StatusOr<Tree> refused = supervisor_->Spawn(Shell("exit 0"));
  EXPECT_EQ(ErrnoOf(refused.status()), EROFS) << refused.status();
}

// What this process lacks for the moment is no reason to do with less.
TEST_F(SupervisorSubreaperTest, AutoDoesNotTakeItForWantOfDescriptors) {
  Create({});
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    return strcmp(call, "open") == 0 && strcmp(path, "cgroup.kill") == 0
               ? EMFILE
               : 0;
  });
  absl::StatusOr<Tree> failed = supervisor_->Spawn(Shell("exit 0"));
  EXPECT_EQ(ErrnoOf(failed.status()), EMFILE) << failed.status();
}

}  // namespace
}  // namespace treekill
