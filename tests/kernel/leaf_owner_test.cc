// Whose a leaf is, and whether that process is alive.
#include <sched.h>
#include <sys/xattr.h>

#include "tests/kernel/gc_fixture.h"

namespace treekill {
namespace {

using containment::LeafOwner;
using containment::OwnerState;
using containment::ThisProcess;
using ::testing::IsEmpty;

// Start times are known to a clock tick of 10 ms.
constexpr absl::Duration kTicks = absl::Milliseconds(30);

using LeafOwnerTest = GcTest;

TEST_F(LeafOwnerTest, AnOwnerThatLives) {
  EXPECT_EQ(OwnerOf(MakeLeaf(ThisProcess())), OwnerState::kAlive);
}

TEST_F(LeafOwnerTest, AnOwnerThatIsDead) {
  EXPECT_EQ(OwnerOf(MakeLeaf(Dead())), OwnerState::kGone);
}

TEST_F(LeafOwnerTest, AnOwnerThatIsAZombie) {
  LeafOwner owner = ThisProcess();
  owner.pid = StartSleeper();
  kill(owner.pid, SIGKILL);
  EXPECT_TRUE(rig::Eventually([&] { return !IsAlive(owner.pid); }));
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kGone);
}

TEST_F(LeafOwnerTest, AnotherProcessWithTheOwnersNumber) {
  LeafOwner owner = ThisProcess();
  owner.moment = kernel::ReadProcessStat(0)->StartedAt() - absl::Seconds(1);
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kGone);
}

TEST_F(LeafOwnerTest, AnOwnerWithoutANamespace) {
  LeafOwner owner = ThisProcess();
  owner.pid_namespace = 0;
  EXPECT_EQ(OwnerOf(MakeLeaf(owner)), OwnerState::kUnknown);
}

TEST_F(LeafOwnerTest, AnOwnerByAnotherClock) {
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
TEST_F(LeafOwnerTest, AnOwnerThatProcDoesNotShow) {
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

TEST_F(LeafOwnerTest, AKeptLeafIsLeftAsLongAsSomebodyLivesInIt) {
  std::string leaf = MakeLeaf(Dead());
  EXPECT_TRUE(containment::SetKept(*kernel::Cgroup::Open(leaf)).ok());
  EXPECT_EQ(OwnerOf(leaf), OwnerState::kKept);
  pid_t pid = SleepIn(leaf);
  EXPECT_THAT(Collect(), IsEmpty());
  EXPECT_TRUE(IsAlive(pid));
  kill(pid, SIGKILL);
  EXPECT_TRUE(rig::Eventually([&] { return !IsAlive(pid); }));
  EXPECT_THAT(Collect(), testing::SizeIs(1));
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

// Who lives may be about to put somebody into it.
TEST_F(LeafOwnerTest, AnEmptyKeptLeafIsLeftWhileItsOwnerLives) {
  std::string leaf = MakeLeaf(ThisProcess());
  EXPECT_TRUE(containment::SetKept(*kernel::Cgroup::Open(leaf)).ok());
  EXPECT_THAT(Collect(), IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(leaf));
}

// Nobody's life depends on whether something could be opened.
TEST_F(LeafOwnerTest, WhatCannotBeReadIsNoAnswer) {
  std::string kept = MakeLeaf(Dead(), "kept");
  EXPECT_TRUE(containment::SetKept(*kernel::Cgroup::Open(kept)).ok());
  std::string inherited = MakeLeaf(Dead(), "inherited");
  EXPECT_TRUE(
      containment::SetOwner(*kernel::Cgroup::Open(inherited), ThisProcess())
          .ok());
  std::string alive = MakeLeaf(ThisProcess(), "alive");
  for (const std::string& leaf : {kept, inherited, alive}) {
    OwnerState truth = OwnerOf(leaf);
    EXPECT_NE(truth, OwnerState::kGone);
    static int countdown;
    bool failed = true;
    for (int successes = 0; failed; ++successes) {
      countdown = successes;
      kernel::SetFaultHookForTesting([](const char* call, const char*) {
        return strcmp(call, "open") == 0 && countdown-- == 0 ? EMFILE : 0;
      });
      absl::StatusOr<OwnerState> state = TryOwnerOf(leaf);
      kernel::SetFaultHookForTesting(nullptr);
      failed = countdown < 0;
      EXPECT_EQ(state.ok(), !failed) << leaf << " " << successes;
      EXPECT_EQ(state.value_or(truth), truth) << leaf;
      ASSERT_LT(successes, 100);
    }
  }
}

TEST_F(LeafOwnerTest, AnHeirIsAskedForInstead) {
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

TEST_F(LeafOwnerTest, AnHeirThatMakesNoSenseIsNone) {
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
        "sleep 600 & echo $! >$1; }; cd $0; exec 3<>orders; echo up >up; ",
        // Opened for each, it would lose what is written before it is closed.
        "while read order <&3; do eval \"$order\"; done");
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

}  // namespace
}  // namespace treekill
