// What dead supervisors have left is found, ended and removed; nothing else is.
#include <sched.h>
#include <sys/xattr.h>

#include <algorithm>
#include <memory>

#include "tests/kernel/fixture.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/gc.h"
#include "treekill/kernel/syscalls.h"

namespace treekill {
namespace {

using containment::FindOwner;
using containment::FormatLeafName;
using containment::LeafOwner;
using containment::OwnerState;
using containment::ThisProcess;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Start times are known to a clock tick of 10 ms.
constexpr absl::Duration kTicks = absl::Milliseconds(30);

// So many descriptors are enough to collect with.
constexpr rlim_t kEnough = 24;

class GcTest : public KernelTest {
 protected:
  void TearDown() override {
    kernel::SetFaultHookForTesting(nullptr);
    for (pid_t pid : children_) kill(pid, SIGKILL);
    for (pid_t pid : children_) waitpid(pid, nullptr, 0);
    for (auto leaf = leaves_.rbegin(); leaf != leaves_.rend(); ++leaf) {
      rmdir(leaf->c_str());
    }
    KernelTest::TearDown();
  }

  // Makes a leaf of that owner below `parent` ("": the test's cgroup).
  std::string MakeLeaf(const LeafOwner& owner, const std::string& name = "",
                       const std::string& parent = "") {
    leaves_.push_back(absl::StrCat(parent.empty() ? own() : parent, "/",
                                   FormatLeafName({name, owner})));
    EXPECT_EQ(mkdir(leaves_.back().c_str(), 0755), 0) << leaves_.back();
    return leaves_.back();
  }

  pid_t StartSleeper() {
    pid_t pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    children_.push_back(pid);
    return pid;
  }

  pid_t SleepIn(const std::string& cgroup) {
    pid_t pid = StartSleeper();
    rig::WriteAll(cgroup + "/cgroup.procs", absl::StrCat(pid));
    return pid;
  }

  // A process that was and is no more.
  static LeafOwner Dead() {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    LeafOwner owner = ThisProcess();
    owner.pid = pid;
    waitpid(pid, nullptr, 0);
    return owner;
  }

  static absl::StatusOr<OwnerState> TryOwnerOf(const std::string& leaf) {
    absl::StatusOr<kernel::Cgroup> cgroup = kernel::Cgroup::Open(leaf);
    if (!cgroup.ok()) return cgroup.status();
    std::string name = std::filesystem::path(leaf).filename();
    return FindOwner(*cgroup, containment::ParseLeafName(name)->owner);
  }

  static OwnerState OwnerOf(const std::string& leaf) {
    absl::StatusOr<OwnerState> state = TryOwnerOf(leaf);
    EXPECT_TRUE(state.ok()) << state.status();
    return state.value_or(OwnerState::kAlive);
  }

  std::vector<Garbage> Collect(GarbageOptions options = {}) {
    options.below = own();
    absl::StatusOr<std::vector<Garbage>> garbage = CollectGarbage(options);
    EXPECT_TRUE(garbage.ok()) << garbage.status();
    return garbage.ok() ? *std::move(garbage) : std::vector<Garbage>();
  }

  // With no more than that many descriptors to be had.
  absl::StatusOr<std::vector<Garbage>> CollectWith(rlim_t descriptors) {
    rig::FewDescriptors few(descriptors);
    return CollectGarbage({.below = own()});
  }

  std::vector<pid_t> children_;
  std::vector<std::string> leaves_;
};

// ------------------------------------------------------------------- owners

TEST_F(GcTest, AnOwnerThatLives) {
  EXPECT_EQ(OwnerOf(MakeLeaf(ThisProcess())), OwnerState::kAlive);
}

TEST_F(GcTest, AnOwnerThatIsDead) {
  EXPECT_EQ(OwnerOf(MakeLeaf(Dead())), OwnerState::kGone);
}

TEST_F(GcTest, AnOwnerThatIsAZombie) {
  LeafOwner owner = ThisProcess();
  owner.pid = StartSleeper();
  kill(owner.pid, SIGKILL);
  EXPECT_TRUE(rig::Eventually([&] { return !IsAlive(owner.pid); }));
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kGone);
}

TEST_F(GcTest, AnotherProcessWithTheOwnersNumber) {
  LeafOwner owner = ThisProcess();
  owner.moment = kernel::ReadProcessStat(0)->StartedAt() - absl::Seconds(1);
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kGone);
}

TEST_F(GcTest, AnOwnerWithoutANamespace) {
  LeafOwner owner = ThisProcess();
  owner.pid_namespace = 0;
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kUnknown);
}

TEST_F(GcTest, AnOwnerByAnotherClock) {
  rig::Program program({"unshare", "--time", "--fork", "sleep", "600"});
  LeafOwner owner = ThisProcess();
  bool found = rig::Eventually([&] {
    std::string all = absl::StrCat("/proc/", program.pid(), "/task/",
                                   program.pid(), "/children");
    owner.pid = atoi(rig::ReadAll(all).c_str());
    return owner.pid > 0 || !IsAlive(program.pid());
  });
  if (!found || owner.pid <= 0)
    GTEST_SKIP() << "no time namespace is to be had";
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kUnknown);
  EXPECT_THAT(Collect(), IsEmpty());
  // unshare(1) does not pass it on.
  kill(owner.pid, SIGKILL);
}

// Its numbers are other processes', and one that lives would seem dead.
TEST_F(GcTest, AnOwnerThatProcDoesNotShow) {
  EXPECT_EQ(InChild([&]() -> std::string {
              if (unshare(CLONE_NEWPID) < 0) return "unshare";
              std::string text = InChild([&]() -> std::string {
                std::string leaf = MakeLeaf(ThisProcess(), "inside");
                absl::StatusOr<OwnerState> state = TryOwnerOf(leaf);
                rmdir(leaf.c_str());
                if (state.ok()) return absl::StrCat("state ", int(*state));
                return absl::IsFailedPrecondition(state.status())
                           ? ""
                           : state.status().ToString();
              });
              return text;
            }),
            "");
}

TEST_F(GcTest, AKeptLeafHasNoOwnerToAskFor) {
  std::string leaf = MakeLeaf(Dead());
  EXPECT_TRUE(containment::SetKept(*kernel::Cgroup::Open(leaf)).ok());
  EXPECT_EQ(OwnerOf(leaf), OwnerState::kKept);
  EXPECT_THAT(Collect(), IsEmpty());
}

TEST_F(GcTest, AnHeirIsAskedForInstead) {
  std::string inherited = MakeLeaf(Dead(), "inherited");
  EXPECT_TRUE(
      containment::SetOwner(*kernel::Cgroup::Open(inherited), ThisProcess())
          .ok());
  EXPECT_EQ(OwnerOf(inherited), OwnerState::kAlive);
  std::string orphaned = MakeLeaf(ThisProcess(), "orphaned");
  EXPECT_TRUE(
      containment::SetOwner(*kernel::Cgroup::Open(orphaned), Dead()).ok());
  EXPECT_EQ(OwnerOf(orphaned), OwnerState::kGone);
}

TEST_F(GcTest, AnHeirThatMakesNoSenseIsNone) {
  for (const char* heir : {"", "x", "1", "1-2", "a-1-0123456789abcdef"}) {
    std::string leaf = MakeLeaf(ThisProcess(), "a");
    EXPECT_EQ(
        setxattr(leaf.c_str(), "user.treekill.owner", heir, strlen(heir), 0),
        0);
    EXPECT_EQ(OwnerOf(leaf), OwnerState::kAlive) << heir;
  }
}

// ----------------------------------------------------------- pids come again

// A shell in a PID namespace of its own, which does what it is told, and there
// two processes with the same pid, one after the other.
class ReusedPidTest : public GcTest {
 protected:
  static constexpr int kPid = 5000;

  void SetUp() override {
    GcTest::SetUp();
    if (HasFatalFailure() || IsSkipped()) return;
    ASSERT_EQ(mkfifo(File("orders").c_str(), 0600), 0);
    std::string script = absl::StrCat(
        "again() { echo ", kPid - 1, " >/proc/sys/kernel/ns_last_pid; ",
        "sleep 600 & echo $! >$1; }; cd $0; echo up >up; ",
        "while read order <orders; do eval \"$order\"; done");
    shell_.emplace(std::vector<std::string>{
        "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh",
        "-c", script, directory_.path()});
    ASSERT_TRUE(Await("up")) << "no PID namespace is to be had";
  }

  void TearDown() override {
    shell_.reset();
    GcTest::TearDown();
  }

  bool Await(const std::string& file) {
    return rig::Eventually([&] { return !rig::ReadAll(File(file)).empty(); });
  }

  // What it has made of `file`, the last thing that `order` writes.
  std::string Order(const std::string& order, const std::string& file) {
    rig::WriteAll(File("orders"), order + "\n");
    EXPECT_TRUE(Await(file)) << order;
    return rig::ReadAll(File(file));
  }

  // Makes process kPid, and returns its pid as this process sees it.
  pid_t Make(const std::string& file, const std::string& before = "") {
    EXPECT_EQ(Order(before + "again " + file, file), absl::StrCat(kPid, "\n"));
    for (pid_t pid : Members()) {
      std::vector<pid_t> pids = kernel::NamespacePids(pid).value();
      if (pids.size() > 1 && pids.back() == kPid) return pid;
    }
    return 0;
  }

  // Kills the first and makes the second.
  pid_t MakeAgain() {
    absl::SleepFor(kTicks);
    return Make("second", "kill $!; wait $!; ");
  }

  // A leaf with a member, made by the first in this moment.
  std::string MakeLeafOf(pid_t first) {
    absl::SleepFor(kTicks);
    std::string leaf = MakeLeaf(
        {kPid, kernel::BootTimeNow(), kernel::NamespaceOf(first, "pid")});
    SleepIn(leaf);
    return leaf;
  }

  // Collects in there.
  void CollectInside(const std::string& file) {
    Order(absl::StrCat("'", rig::TreekillPath(), "' gc ", own(), " >", file,
                       ".log 2>&1; echo $? >", file),
          file);
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
  std::optional<rig::Program> shell_;
};

TEST_F(ReusedPidTest, SeenFromTheSameNamespace) {
  pid_t first = Make("first");
  ASSERT_NE(first, 0);
  std::string leaf = MakeLeafOf(first);
  CollectInside("early");
  EXPECT_TRUE(kernel::DirectoryExists(leaf)) << "its owner is alive";
  pid_t second = MakeAgain();
  EXPECT_NE(first, second);
  CollectInside("late");
  EXPECT_FALSE(kernel::DirectoryExists(leaf)) << rig::ReadAll(File("late.log"));
  EXPECT_FALSE(IsAlive(children_.back()));
  EXPECT_TRUE(IsAlive(second));
}

TEST_F(ReusedPidTest, SeenFromTheFirstNamespace) {
  if (kernel::NamespaceOf(0, "pid") != kernel::kInitialPidNamespace) {
    GTEST_SKIP() << "only the first PID namespace sees into others";
  }
  pid_t first = Make("first");
  ASSERT_NE(first, 0);
  std::string leaf = MakeLeafOf(first);
  // A process that is just ending hides where it is, for a moment.
  EXPECT_TRUE(
      rig::Eventually([&] { return OwnerOf(leaf) == OwnerState::kAlive; }));
  EXPECT_THAT(Collect(), IsEmpty());
  for (rlim_t left = 0; left <= kEnough; ++left) {
    EXPECT_THAT(CollectWith(left).value_or(std::vector<Garbage>()), IsEmpty());
  }
  pid_t second = MakeAgain();
  EXPECT_NE(first, second);
  EXPECT_TRUE(
      rig::Eventually([&] { return OwnerOf(leaf) == OwnerState::kGone; }));
  EXPECT_TRUE(rig::Eventually([&] { return Collect().size() == 1; }));
  EXPECT_FALSE(kernel::DirectoryExists(leaf));
  EXPECT_TRUE(IsAlive(second));
}

// --------------------------------------------------------------- collecting

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

// The living and the kept are left alone, and nothing is passed over without a
// word.
TEST_F(GcTest, EveryNumberOfDescriptorsThatAreLeft) {
  std::string alive = MakeLeaf(ThisProcess(), "alive");
  std::string kept = MakeLeaf(Dead(), "kept");
  ASSERT_TRUE(containment::SetKept(*kernel::Cgroup::Open(kept)).ok());
  std::vector<pid_t> spared = {SleepIn(alive), SleepIn(kept)};
  int failed = 0;
  for (rlim_t left = 0; left <= kEnough; ++left) {
    std::vector<std::string> dead = {MakeLeaf(Dead(), "one"),
                                     MakeLeaf(Dead(), "two")};
    for (const std::string& leaf : dead) SleepIn(leaf);
    absl::StatusOr<std::vector<Garbage>> garbage = CollectWith(left);
    failed += garbage.ok() ? 0 : 1;
    if (garbage.ok()) {
      EXPECT_THAT(*garbage, SizeIs(dead.size())) << left;
      for (const Garbage& leaf : *garbage) {
        EXPECT_NE(leaf.removed, kernel::DirectoryExists(leaf.leaf)) << left;
        EXPECT_EQ(ErrnoOf(leaf.error), leaf.removed ? 0 : EMFILE) << left;
        EXPECT_THAT(leaf.members, SizeIs(leaf.removed ? 1 : 0)) << left;
      }
    } else {
      EXPECT_EQ(ErrnoOf(garbage.status()), EMFILE) << garbage.status();
      for (const std::string& leaf : dead) {
        EXPECT_TRUE(kernel::DirectoryExists(leaf)) << left;
      }
    }
    for (pid_t pid : spared) ASSERT_TRUE(IsAlive(pid)) << left;
    Collect();
  }
  EXPECT_GT(failed, 0);
  EXPECT_TRUE(CollectWith(kEnough).ok());
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
    bool fails = what == "write@cgroup.kill" || what == "pidfd_send_signal@";
    return fails ? EPERM : 0;
  });
  absl::Duration began = kernel::MonotonicNow();
  std::vector<Garbage> garbage =
      Collect({.drain_timeout = absl::Milliseconds(200)});
  absl::Duration took = kernel::MonotonicNow() - began;
  kernel::SetFaultHookForTesting(nullptr);
  EXPECT_GE(took, absl::Milliseconds(200));
  EXPECT_LE(took, absl::Seconds(30));
  ASSERT_THAT(garbage, SizeIs(1));
  EXPECT_FALSE(garbage[0].removed);
  EXPECT_EQ(ErrnoOf(garbage[0].error), EPERM) << garbage[0].error;
  ASSERT_THAT(garbage[0].survivors, SizeIs(1));
  EXPECT_EQ(garbage[0].survivors[0].pid, member);
  EXPECT_TRUE(IsAlive(member));
}

}  // namespace
}  // namespace treekill
