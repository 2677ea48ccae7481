#include "treekill/kernel/cgroup.h"

#include <dirent.h>
#include <sys/resource.h>

#include <fstream>
#include <optional>

#include "tests/kernel/fixture.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/placement.h"
#include "treekill/kernel/cgroup_events.h"

namespace treekill::kernel {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class CgroupTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (HasFatalFailure() || IsSkipped()) return;
    absl::StatusOr<Cgroup> parent = Cgroup::Open(own());
    ASSERT_TRUE(parent.ok()) << parent.status();
    parent_.emplace(*std::move(parent));
    absl::StatusOr<Cgroup> leaf = parent_->MakeChild("leaf");
    ASSERT_TRUE(leaf.ok()) << leaf.status();
    leaf_.emplace(*std::move(leaf));
  }

  void TearDown() override {
    for (pid_t pid : children_) kill(pid, SIGKILL);
    for (pid_t pid : children_) waitpid(pid, nullptr, 0);
    leaf_.reset();
    parent_.reset();
    KernelTest::TearDown();
  }

  // A child of the test that sleeps in `directory`.
  pid_t SleepIn(const std::string& directory) {
    pid_t pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    children_.push_back(pid);
    rig::WriteAll(directory + "/cgroup.procs", absl::StrCat(pid));
    return pid;
  }

  std::string Nested(const std::string& below) {
    std::string directory = leaf_->path() + below;
    EXPECT_EQ(mkdir(directory.c_str(), 0755), 0) << directory;
    return directory;
  }

  std::vector<pid_t> MembersOfLeaf() {
    absl::StatusOr<CgroupMembers> members = leaf_->Members();
    EXPECT_TRUE(members.ok()) << members.status();
    return members.ok() ? members->pids : std::vector<pid_t>();
  }

  UniqueFd Control(const char* file, int flags) {
    absl::StatusOr<UniqueFd> fd = leaf_->OpenControl(file, flags);
    EXPECT_TRUE(fd.ok()) << fd.status();
    return fd.ok() ? *std::move(fd) : UniqueFd();
  }

  bool Exists() { return DirectoryExists(leaf_->path()); }

  absl::Status RemoveLeaf() { return parent_->RemoveChild("leaf"); }

  std::optional<Cgroup> parent_;
  std::optional<Cgroup> leaf_;
  std::vector<pid_t> children_;
};

bool HasChanged(int events, absl::Duration patience) {
  pollfd changed{events, POLLPRI, 0};
  int timeout = static_cast<int>(absl::ToInt64Milliseconds(patience));
  return poll(&changed, 1, timeout) == 1 && (changed.revents & POLLPRI) != 0;
}

TEST_F(CgroupTest, OpenTakesCgroupDirectoriesOnly) {
  EXPECT_TRUE(absl::IsFailedPrecondition(Cgroup::Open("/tmp").status()));
  EXPECT_TRUE(absl::IsNotFound(Cgroup::Open(own() + "/none").status()));
  EXPECT_FALSE(Cgroup::Open(own() + "/cgroup.procs").ok());
}

TEST_F(CgroupTest, MakeChild) {
  EXPECT_TRUE(Exists());
  EXPECT_EQ(leaf_->path(), own() + "/leaf");
  struct stat status;
  ASSERT_EQ(stat(leaf_->path().c_str(), &status), 0);
  EXPECT_EQ(leaf_->id(), status.st_ino);
  absl::Status again = parent_->MakeChild("leaf").status();
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_EQ(CallOf(again), "mkdir");
  EXPECT_THAT(std::string(again.message()), HasSubstr(leaf_->path()));
}

TEST_F(CgroupTest, MembersOfNestedCgroupsAreMembers) {
  EXPECT_THAT(MembersOfLeaf(), IsEmpty());
  pid_t first = SleepIn(leaf_->path());
  pid_t second = SleepIn(Nested("/a"));
  pid_t third = SleepIn((Nested("/a/b"), Nested("/a/b/c")));
  EXPECT_THAT(MembersOfLeaf(), UnorderedElementsAre(first, second, third));
}

TEST_F(CgroupTest, TheIdsOfAllThatWereReadComeWithTheMembers) {
  Nested("/a");
  absl::StatusOr<Cgroup> nested = Cgroup::Open(Nested("/a/b"));
  ASSERT_TRUE(nested.ok());
  absl::StatusOr<CgroupMembers> members = leaf_->Members();
  ASSERT_TRUE(members.ok());
  EXPECT_THAT(members->cgroup_ids,
              AllOf(SizeIs(3), Contains(leaf_->id()), Contains(nested->id())));
}

TEST_F(CgroupTest, MembersAreReadWhereTheirMakerForbidsIt) {
  std::string nested = Nested("/a");
  pid_t pid = SleepIn(nested);
  ASSERT_EQ(chmod(nested.c_str(), 0), 0);
  EXPECT_THAT(MembersOfLeaf(), ElementsAre(pid));
}

TEST_F(CgroupTest, ARemovedCgroupHasNoMembers) {
  Nested("/a");
  ASSERT_TRUE(RemoveLeaf().ok());
  EXPECT_THAT(MembersOfLeaf(), IsEmpty());
  EXPECT_TRUE(leaf_->Thaw().ok());
}

TEST_F(CgroupTest, AZombieIsNoMember) {
  pid_t pid = SleepIn(leaf_->path());
  kill(pid, SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(rig::Eventually([&] { return MembersOfLeaf().empty(); }));
}

TEST_F(CgroupTest, KillReachesEveryLevelAndEveryState) {
  SleepIn(leaf_->path());
  pid_t stopped = SleepIn(Nested("/a"));
  kill(stopped, SIGSTOP);
  std::string frozen = Nested("/a/b");
  SleepIn(frozen);
  rig::WriteAll(frozen + "/cgroup.freeze", "1");
  UniqueFd kill = Control("cgroup.kill", O_WRONLY);
  EXPECT_TRUE(WriteKill(kill.get(), "x").ok());
  for (pid_t pid : children_) {
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, pid, &info, WEXITED), 0);
    EXPECT_EQ(info.si_status, SIGKILL);
  }
  children_.clear();
}

TEST_F(CgroupTest, KillInARemovedCgroupIsNoError) {
  UniqueFd kill = Control("cgroup.kill", O_WRONLY);
  ASSERT_TRUE(RemoveLeaf().ok());
  EXPECT_TRUE(WriteKill(kill.get(), "x").ok());
}

TEST_F(CgroupTest, KillSaysWhyItFailed) {
  UniqueFd not_for_writing = Control("cgroup.kill", O_RDONLY | O_PATH);
  absl::Status status = WriteKill(not_for_writing.get(), "/the/path");
  EXPECT_EQ(ErrnoOf(status), EBADF);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/the/path"));
}

TEST_F(CgroupTest, PopulatedFollowsTheMembersOfEveryLevel) {
  UniqueFd events = Control("cgroup.events", O_RDONLY);
  EXPECT_EQ(ReadPopulated(events.get(), "x").value(), false);
  pid_t pid = SleepIn(Nested("/a"));
  EXPECT_EQ(ReadPopulated(events.get(), "x").value(), true);
  kill(pid, SIGKILL);
  EXPECT_TRUE(rig::Eventually(
      [&] { return !ReadPopulated(events.get(), "x").value(); }));
}

TEST_F(CgroupTest, TheEventsDescriptorWakesWhenTheCgroupEmpties) {
  pid_t pid = SleepIn(Nested("/a"));
  UniqueFd events = Control("cgroup.events", O_RDONLY);
  ASSERT_TRUE(ReadPopulated(events.get(), "x").value());
  // That it was filled may be told late.
  while (HasChanged(events.get(), absl::Milliseconds(100))) {
    ASSERT_TRUE(ReadPopulated(events.get(), "x").value());
  }
  kill(pid, SIGKILL);
  EXPECT_TRUE(HasChanged(events.get(), absl::Seconds(20)));
  EXPECT_TRUE(rig::Eventually(
      [&] { return !ReadPopulated(events.get(), "x").value(); }));
}

TEST_F(CgroupTest, ARemovedCgroupIsNotPopulated) {
  UniqueFd events = Control("cgroup.events", O_RDONLY);
  ASSERT_TRUE(RemoveLeaf().ok());
  EXPECT_EQ(ReadPopulated(events.get(), "x").value(), false);
  EXPECT_EQ(AwaitEmpty(*leaf_, absl::ZeroDuration()).value(), true);
}

TEST_F(CgroupTest, WhatIsAwaitedHasComeOrHasNot) {
  SleepIn(leaf_->path());
  EXPECT_EQ(AwaitEmpty(*leaf_, absl::ZeroDuration()).value(), false);
  for (bool frozen : {true, false}) {
    EXPECT_EQ(AwaitFrozen(*leaf_, frozen, absl::ZeroDuration()).value(), false);
    ASSERT_TRUE(leaf_->SetFrozen(frozen).ok());
    absl::Duration end = MonotonicNow() + absl::Seconds(60);
    EXPECT_EQ(AwaitFrozen(*leaf_, frozen, end).value(), true);
  }
}

TEST_F(CgroupTest, ThawReachesEveryLevel) {
  std::string nested = (Nested("/a"), Nested("/a/b"));
  SleepIn(nested);
  rig::WriteAll(nested + "/cgroup.freeze", "1");
  rig::WriteAll(leaf_->path() + "/cgroup.freeze", "1");
  auto says = [&](const char* text) {
    return rig::Eventually([&] {
      std::string events = rig::ReadAll(nested + "/cgroup.events");
      return events.find(text) != std::string::npos;
    });
  };
  ASSERT_TRUE(says("frozen 1"));
  absl::Status thawed = leaf_->Thaw();
  EXPECT_TRUE(thawed.ok()) << thawed;
  EXPECT_TRUE(says("frozen 0"));
}

TEST_F(CgroupTest, RemoveChildTakesNestedOnesAlong) {
  Nested("/a");
  Nested("/a/b");
  Nested("/a/b/c");
  Nested("/x");
  std::string locked = Nested("/a/locked");
  Nested("/a/locked/d");
  ASSERT_EQ(chmod(locked.c_str(), 0), 0);
  absl::Status removed = RemoveLeaf();
  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_FALSE(Exists());
}

TEST_F(CgroupTest, RemoveChildIsBusyWhileThereIsAMember) {
  pid_t pid = SleepIn((Nested("/a"), Nested("/a/b")));
  EXPECT_TRUE(kernel::IsBusy(RemoveLeaf()));
  EXPECT_TRUE(Exists());
  kill(pid, SIGKILL);
  EXPECT_TRUE(rig::Eventually([&] { return RemoveLeaf().ok(); }));
  EXPECT_FALSE(Exists());
}

TEST_F(CgroupTest, RemoveChildOfOneThatHasGoneIsOk) {
  ASSERT_TRUE(RemoveLeaf().ok());
  EXPECT_TRUE(RemoveLeaf().ok());
}

TEST_F(CgroupTest, AnyDepthWithFewDescriptors) {
  constexpr int kDepth = 300;
  std::string below;
  for (int i = 0; i < kDepth; ++i) Nested(below += "/n");
  pid_t deepest = SleepIn(leaf_->path() + below);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low{24, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<pid_t> members = MembersOfLeaf();
  absl::Status thawed = leaf_->Thaw();
  kill(deepest, SIGKILL);
  bool removed = rig::Eventually([&] { return RemoveLeaf().ok(); });
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_THAT(members, ElementsAre(deepest));
  EXPECT_TRUE(thawed.ok()) << thawed;
  EXPECT_TRUE(removed);
  EXPECT_FALSE(Exists());
}

TEST_F(CgroupTest, PlacementIsOurOwnCgroup) {
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_EQ(placement->parent.path(), own());
  EXPECT_EQ(placement->parent.id(), parent_->id());
}

TEST_F(CgroupTest, PlacementIsWhereTheProcessIsNow) {
  std::string inside = Nested("/inside");
  EXPECT_EQ(InChild([&]() -> std::string {
              rig::WriteAll(inside + "/cgroup.procs", "0");
              absl::StatusOr<containment::Placement> placement =
                  containment::FindPlacement();
              if (!placement.ok()) return placement.status().ToString();
              return placement->parent.path() == inside
                         ? ""
                         : placement->parent.path();
            }),
            "");
}

TEST_F(CgroupTest, AHoldMakesItsLeafAndRemovesIt) {
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  ASSERT_TRUE(placement.ok()) << placement.status();
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
      containment::HoldInCgroup(*placement, containment::NewLeafName("x"));
  ASSERT_TRUE(hold.ok()) << hold.status();
  EXPECT_THAT((*hold)->path(), HasSubstr(own() + "/treekill-x-"));
  EXPECT_TRUE(DirectoryExists((*hold)->path()));
  EXPECT_EQ((*hold)->IsEmpty().value(), true);
  std::string path = (*hold)->path();
  EXPECT_TRUE((*hold)->Remove().ok());
  EXPECT_FALSE(DirectoryExists(path));
}

TEST_F(CgroupTest, AHoldThatIsDroppedRemovesItsLeaf) {
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_TRUE(
      containment::HoldInCgroup(*placement, containment::NewLeafName("")).ok());
  EXPECT_THAT(rig::LeftLeaves(), IsEmpty());
}

}  // namespace
}  // namespace treekill::kernel
