// The host dies, and so does everything that it has started.
#include <sys/resource.h>

#include <tuple>

#include "tests/kernel/guardian_fixture.h"

namespace treekill {
namespace {

using ::testing::SizeIs;

// A leader, one with a session of its own, and a daemon.
const Command kThree =
    Shell("setsid sleep 600 & setsid --fork sleep 600; exec sleep 600");

class DeathTest : public GuardianTest {
 protected:
  // Waits until that many members have become sleep(1).
  void AwaitSleepers(size_t count) {
    size_t found = 0;
    EXPECT_TRUE(rig::Eventually(
        [&] {
          found = 0;
          for (pid_t pid : Members()) {
            std::optional<kernel::ProcessStat> stat =
                kernel::ReadProcessStat(pid);
            found += stat.has_value() && stat->comm == "sleep" ? 1 : 0;
          }
          return found == count;
        },
        absl::Minutes(1)))
        << found << " of " << count;
  }

  void ExpectAllGone(std::vector<pid_t> others = {}) {
    EXPECT_TRUE(rig::Eventually([&] { return OnlyTheseAreLeft(others); },
                                absl::Minutes(1)))
        << testing::PrintToString(Members());
  }
};

// Signals and numbers of trees.
class DeathBySignalTest
    : public DeathTest,
      public testing::WithParamInterface<std::tuple<int, int>> {};

TEST_P(DeathBySignalTest, AllTreesAreGone) {
  const auto [signal, trees] = GetParam();
  std::vector<pid_t> leaders =
      StartHost({absl::StrCat("--trees=", trees)}, kThree);
  ASSERT_THAT(leaders, SizeIs(trees));
  AwaitSleepers(3 * trees);
  pid_t guardian = AwaitGuardian(host().pid());
  ASSERT_NE(guardian, 0);
  EXPECT_THAT(GuardiansOf(host().pid()), SizeIs(1));
  host().Signal(signal);
  host().Wait();
  ExpectAllGone();
  EXPECT_FALSE(IsAlive(guardian));
}

std::string NameOf(
    const testing::TestParamInfo<DeathBySignalTest::ParamType>& info) {
  return SignalName(std::get<0>(info.param));
}

constexpr int kDeadly[] = {SIGKILL, SIGSEGV, SIGABRT, SIGTERM};

INSTANTIATE_TEST_SUITE_P(Few, DeathBySignalTest,
                         testing::Combine(testing::ValuesIn(kDeadly),
                                          testing::Values(5)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(ThoroughAlone, DeathBySignalTest,
                         testing::Combine(testing::ValuesIn(kDeadly),
                                          testing::Values(50)),
                         NameOf);

TEST_F(DeathTest, ItExecsAnotherProgram) {
  StartHost({"--trees=3", "--then=exec", "--parent-signal=never"}, kThree);
  AwaitSleepers(9);
  host().Signal(SIGUSR1);
  ExpectAllGone({host().pid()});
  EXPECT_EQ(kernel::ReadProcessStat(host().pid())->comm, "sleep");
}

TEST_F(DeathTest, ItsMainThreadEndsAndItLivesOn) {
  std::vector<pid_t> leaders = StartHost(
      {"--trees=3", "--then=pthread-exit", "--parent-signal=never"}, kThree);
  ASSERT_THAT(leaders, SizeIs(3));
  AwaitSleepers(9);
  pid_t guardian = AwaitGuardian(host().pid());
  host().Signal(SIGUSR1);
  EXPECT_TRUE(rig::Eventually(
      [&] { return kernel::ReadProcessStat(host().pid())->state == 'Z'; }));
  EXPECT_TRUE(CollectGarbage({.below = own()}).value().empty());
  Signal(leaders[0], SIGKILL);
  // Of that tree all have gone: it is served. The others have lived on.
  EXPECT_TRUE(rig::Eventually([&] { return rig::LeftLeaves().size() == 2; }));
  EXPECT_TRUE(IsAlive(guardian));
  AwaitSleepers(6);
  host().Signal(SIGKILL);
  host().Wait();
  ExpectAllGone();
}

TEST_F(DeathTest, ACopyOfItLivesOn) {
  StartHost({"--trees=3", "--then=fork"}, kThree);
  AwaitSleepers(9);
  host().Signal(SIGUSR1);
  pid_t copy = 0;
  ASSERT_TRUE(rig::Eventually([&] {
    for (const kernel::ProcessStat& child : ChildrenOf(host().pid())) {
      if (child.comm == "host") copy = child.pid;
    }
    return copy != 0;
  }));
  host().Signal(SIGKILL);
  host().Wait();
  ExpectAllGone({copy});
  Signal(copy, SIGKILL);
}

TEST_F(DeathTest, ItsGuardianWasReplacedBefore) {
  StartHost({"--trees=20", "--parent-signal=never"}, kThree);
  AwaitSleepers(60);
  pid_t first = AwaitGuardian(host().pid());
  Signal(first, SIGKILL);
  pid_t second = AwaitGuardian(host().pid(), first);
  ASSERT_NE(second, 0);
  host().Signal(SIGKILL);
  host().Wait();
  ExpectAllGone();
}

// Not by the program treekill-guardian, but by the host's own.
TEST_F(DeathTest, ItIsItsOwnGuardian) {
  ASSERT_THAT(StartHost({"--trees=2", "--own-guardian"}, kSleeper), SizeIs(2));
  AwaitSleepers(2);
  pid_t guardian = AwaitGuardian(host().pid());
  EXPECT_EQ(
      std::filesystem::read_symlink(absl::StrCat("/proc/", guardian, "/exe")),
      rig::HostPath());
  host().Signal(SIGKILL);
  host().Wait();
  ExpectAllGone();
}

using ThoroughDeathAloneTest = DeathTest;

TEST_F(ThoroughDeathAloneTest, ItHadFourHundredTrees) {
  std::vector<pid_t> leaders = StartHost({"--trees=400"}, kSleeper, [] {
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  });
  ASSERT_THAT(leaders, SizeIs(400));
  AwaitSleepers(400);
  host().Signal(SIGKILL);
  host().Wait();
  ExpectAllGone();
}

TEST_F(DeathTest, ItsGuardianDiesWithIt) {
  StartHost({"--trees=3"}, kThree);
  AwaitSleepers(9);
  Signal(AwaitGuardian(host().pid()), SIGKILL);
  host().Signal(SIGKILL);
  host().Wait();
  const std::vector<Garbage> garbage = CollectGarbage({.below = own()}).value();
  EXPECT_LE(garbage.size(), 3u);
  for (const Garbage& leaf : garbage) EXPECT_TRUE(leaf.error.ok());
  ExpectAllGone();
}

// A member that survives SIGTERM, and says so of SIGINT.
TEST_F(DeathTest, TheStepsThatAreLeftAreTaken) {
  StartHost({"--then=stop", "--parent-signal=never", "--step=TERM:800ms",
             "--step=INT:200ms"},
            Shell("trap 'echo >" + File("term") + "' TERM; trap 'echo >" +
                  File("int") + "' INT; echo >" + File("up") +
                  "; while :; do sleep 0.02; done"));
  auto wait_for = [&](const std::string& name) {
    EXPECT_TRUE(rig::Eventually([&] {
      return !rig::ReadAll(File(name)).empty();
    })) << name;
  };
  wait_for("up");
  host().Signal(SIGUSR1);
  wait_for("term");
  host().Signal(SIGKILL);
  host().Wait();
  wait_for("int");
  // The guardian owns it now.
  EXPECT_TRUE(CollectGarbage({.below = own()}).value().empty());
  ExpectAllGone();
}

}  // namespace
}  // namespace treekill
