// What dead supervisors have left is found, ended and removed; nothing else is.
#include <algorithm>
#include <functional>

#include "tests/kernel/gc_fixture.h"
#include "treekill/kernel/time_limit.h"

namespace treekill {
namespace {

using containment::ThisProcess;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(GcTest, NothingBelow) { EXPECT_THAT(Collect(), IsEmpty()); }

TEST_F(GcTest, BelowWhatIsNoCgroup) {
  EXPECT_FALSE(CollectGarbage({.below = "/no/such"}).ok());
  EXPECT_FALSE(CollectGarbage({.below = "/tmp"}).ok());
}

TEST_F(GcTest, WhatAUserMayNotReadIsPassedOver) {
  std::string closed = own() + "/closed";
  ASSERT_EQ(mkdir(closed.c_str(), 0), 0);
  EXPECT_EQ(InChild([&]() -> std::string {
              if (geteuid() == 0 && setuid(65534) < 0) return "setuid";
              absl::Status status = CollectGarbage({.below = own()}).status();
              return status.ok() ? "" : status.ToString();
            }),
            "");
  struct stat status;
  ASSERT_EQ(stat(closed.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0u) << "its mode is not ours to change";
}

TEST_F(GcTest, ItIsEndedAndRemovedAndTheLivingAreNot) {
  std::string dead = MakeLeaf(Dead(), "dead");
  std::string alive = MakeLeaf(ThisProcess(), "alive");
  std::string foreign = own() + "/foreign";
  ASSERT_EQ(mkdir(foreign.c_str(), 0755), 0);
  pid_t doomed = SleepIn(dead);
  std::vector<pid_t> others = {SleepIn(alive), SleepIn(foreign)};
  std::vector<Garbage> garbage = Collect();
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_EQ(garbage[0].leaf, dead);
  EXPECT_EQ(garbage[0].name, "dead");
  ASSERT_THAT(garbage[0].members, SizeIs(1));
  EXPECT_EQ(garbage[0].members[0].pid, doomed);
  EXPECT_TRUE(garbage[0].removed) << garbage[0].error;
  EXPECT_THAT(garbage[0].survivors, IsEmpty());
  EXPECT_FALSE(kernel::DirectoryExists(dead));
  for (pid_t pid : others) EXPECT_TRUE(IsAlive(pid));
}

TEST_F(GcTest, ADryRunChangesNothing) {
  std::string leaf = MakeLeaf(Dead());
  pid_t member = SleepIn(leaf);
  std::vector<Garbage> garbage = Collect({.dry_run = true});
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_THAT(garbage[0].members, SizeIs(1));
  EXPECT_FALSE(garbage[0].removed);
  EXPECT_TRUE(garbage[0].error.ok());
  EXPECT_TRUE(IsAlive(member));
  EXPECT_THAT(Collect(), SizeIs(1));
}

TEST_F(GcTest, AHundredAtOnce) {
  constexpr int kLeaves = 100;
  for (int i = 0; i < kLeaves; ++i) SleepIn(MakeLeaf(Dead()));
  std::vector<Garbage> garbage = Collect();
  EXPECT_THAT(garbage, SizeIs(kLeaves));
  for (const Garbage& leaf : garbage) {
    EXPECT_TRUE(leaf.removed) << leaf.error;
    EXPECT_THAT(leaf.members, SizeIs(1));
  }
  EXPECT_THAT(rig::LeftLeaves(), IsEmpty());
}

// ------------------------------------------------------ few descriptors left

class DeepGcTest : public GcTest {
 protected:
  static constexpr int kDepth = 300;

  // Makes a nest, with a dead leaf at every `step`th depth.
  void MakeNest(int step) {
    std::string path = own();
    for (int i = 1; i <= kDepth; ++i) {
      absl::StrAppend(&path, "/d");
      ASSERT_EQ(mkdir(path.c_str(), 0755), 0) << path;
      leaves_.push_back(path);
      if (i % step == 0) MakeLeaf(Dead(), "", path);
    }
  }
};

TEST_F(DeepGcTest, OneThatIsDeepInANest) {
  MakeNest(kDepth);
  std::vector<Garbage> garbage = CollectWith(kEnough).value();
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_TRUE(garbage[0].removed) << garbage[0].error;
}

TEST_F(DeepGcTest, MoreOfThemThanDescriptors) {
  MakeNest(1);
  std::vector<Garbage> garbage = CollectWith(kEnough).value();
  ASSERT_THAT(garbage, SizeIs(kDepth));
  for (const Garbage& leaf : garbage) EXPECT_TRUE(leaf.removed) << leaf.error;
  EXPECT_THAT(rig::LeftLeaves(), IsEmpty());
}

// Whatever cannot be opened: the living and the kept are left alone, and
// nothing is passed over without a word.
class StarvedGcTest : public GcTest {
 protected:
  void SetUp() override {
    GcTest::SetUp();
    if (HasFatalFailure() || IsSkipped()) return;
    // No guardian takes a moment here.
    kernel::SetTimeLimitHookForTesting(
        [](const char* name, absl::Duration usual) {
          return strcmp(name, "gc") == 0 ? absl::ZeroDuration() : usual;
        });
    std::string alive = MakeLeaf(ThisProcess(), "alive");
    std::string kept = MakeLeaf(Dead(), "kept");
    ASSERT_TRUE(containment::SetKept(*kernel::Cgroup::Open(kept)).ok());
    spared_ = {SleepIn(alive), SleepIn(kept)};
  }

  void TearDown() override {
    kernel::SetTimeLimitHookForTesting(nullptr);
    GcTest::TearDown();
  }

  // Two dead leaves with a member each; `collect` is to end them, or to say
  // which it could not, or that it could not look. Returns whether it looked.
  bool Try(
      const std::function<absl::StatusOr<std::vector<Garbage>>()>& collect) {
    std::vector<std::string> dead = {MakeLeaf(Dead(), "one"),
                                     MakeLeaf(Dead(), "two")};
    for (const std::string& leaf : dead) SleepIn(leaf);
    absl::StatusOr<std::vector<Garbage>> garbage = collect();
    if (garbage.ok()) {
      EXPECT_THAT(*garbage, SizeIs(dead.size()));
      for (const Garbage& leaf : *garbage) {
        EXPECT_NE(leaf.removed, kernel::DirectoryExists(leaf.leaf));
        EXPECT_EQ(ErrnoOf(leaf.error), leaf.removed ? 0 : EMFILE);
      }
    } else {
      EXPECT_EQ(ErrnoOf(garbage.status()), EMFILE) << garbage.status();
      for (const std::string& leaf : dead) {
        EXPECT_TRUE(kernel::DirectoryExists(leaf));
      }
    }
    for (pid_t pid : spared_) EXPECT_TRUE(IsAlive(pid));
    Collect();
    return garbage.ok();
  }

  std::vector<pid_t> spared_;
};

TEST_F(StarvedGcTest, EveryNumberOfDescriptorsThatAreLeft) {
  int blind = 0;
  for (rlim_t left = 0; left < kEnough; ++left) {
    SCOPED_TRACE(left);
    blind += Try([&] { return CollectWith(left); }) ? 0 : 1;
  }
  EXPECT_GT(blind, 0);
  EXPECT_TRUE(Try([&] { return CollectWith(kEnough); }));
}

TEST_F(StarvedGcTest, EachOpenFailsOnce) {
  static int countdown;
  bool failed = true;
  for (int successes = 0; failed; ++successes) {
    SCOPED_TRACE(successes);
    Try([&] {
      countdown = successes;
      kernel::SetFaultHookForTesting([](const char* call, const char*) {
        return strcmp(call, "open") == 0 && countdown-- == 0 ? EMFILE : 0;
      });
      absl::StatusOr<std::vector<Garbage>> garbage =
          CollectGarbage({.below = own()});
      kernel::SetFaultHookForTesting(nullptr);
      failed = countdown < 0;
      return garbage;
    });
    ASSERT_LT(successes, 1000);
  }
}

TEST_F(GcTest, ADeepNestInADeadLeaf) {
  std::string path = MakeLeaf(Dead());
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&path, "/d");
    ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
  }
  pid_t member = SleepIn(path);
  std::vector<Garbage> garbage = Collect();
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_TRUE(garbage[0].removed) << garbage[0].error;
  ASSERT_THAT(garbage[0].members, SizeIs(1));
  EXPECT_EQ(garbage[0].members[0].pid, member);
}

TEST_F(GcTest, WhoCannotBeKilledIsReported) {
  std::string leaf = MakeLeaf(Dead());
  pid_t member = SleepIn(leaf);
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    std::string what = absl::StrCat(call, "@", path);
    bool fails = what == "write@cgroup.kill" || what == "pidfd_send_signal@" ||
                 what == "kill@";
    return fails ? EPERM : 0;
  });
  absl::Duration began = kernel::MonotonicNow();
  std::vector<Garbage> garbage =
      Collect({.drain_timeout = absl::Milliseconds(100)});
  absl::Duration took = kernel::MonotonicNow() - began;
  kernel::SetFaultHookForTesting(nullptr);
  EXPECT_GE(took, absl::Milliseconds(100));
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_FALSE(garbage[0].removed);
  EXPECT_EQ(ErrnoOf(garbage[0].error), EPERM) << garbage[0].error;
  ASSERT_THAT(garbage[0].survivors, SizeIs(1));
  EXPECT_EQ(garbage[0].survivors[0].pid, member);
  EXPECT_TRUE(IsAlive(member));
}

}  // namespace
}  // namespace treekill
