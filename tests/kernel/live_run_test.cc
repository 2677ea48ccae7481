// The runs that are alive, found and ended by others than their supervisors.
#include "treekill/live_run.h"

#include <algorithm>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "tests/kernel/gc_fixture.h"
#include "treekill/containment/leaf_name.h"

namespace treekill {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LiveRunTest : public GcTest {
 protected:
  // Serves a tree in a thread of its own until it has ended, as any supervisor
  // would.
  class Host final {
   public:
    Host(Containment containment, const Command& command, TreeOptions options) {
      auto supervisor = Supervisor::Create({.containment = containment});
      EXPECT_TRUE(supervisor.ok()) << supervisor.status();
      supervisor_ = std::make_unique<Supervisor>(*std::move(supervisor));
      auto tree = supervisor_->Spawn(command, options);
      EXPECT_TRUE(tree.ok()) << tree.status();
      tree_ = std::make_unique<Tree>(*std::move(tree));
      thread_ = std::thread([this] { EXPECT_TRUE(WaitForEnd(*tree_)); });
    }
    ~Host() { thread_.join(); }
    const TreeReport& AwaitEnd() {
      if (thread_.joinable()) thread_.join();
      thread_ = std::thread([] {});
      return tree_->report();
    }

   private:
    std::unique_ptr<Supervisor> supervisor_;
    std::unique_ptr<Tree> tree_;
    std::thread thread_;
  };

  static std::string Name() { return absl::StrCat("live-", getpid()); }

  std::vector<LiveRun> Find(const std::string& target) {
    absl::StatusOr<std::vector<LiveRun>> runs = FindRuns(target);
    EXPECT_TRUE(runs.ok()) << runs.status();
    return runs.ok() ? *std::move(runs) : std::vector<LiveRun>();
  }

  std::string Ready() const { return directory_.File("ready"); }

  // A leaf of a process that is dead, with a sleeper in it.
  std::string LeaveBehind() {
    std::string leaf = MakeLeaf(Dead(), Name());
    SleepIn(leaf);
    return leaf;
  }

  static EndOptions Quickly() {
    return {.signal = SIGTERM, .grace = absl::Milliseconds(50)};
  }

 private:
  rig::TempDir directory_;
};

class Held : public LiveRunTest,
             public testing::WithParamInterface<Containment> {};
INSTANTIATE_TEST_SUITE_P(
    By, Held, testing::Values(Containment::kCgroup, Containment::kSubreaper),
    [](const auto& info) { return std::string(ContainmentName(info.param)); });

TEST_P(Held, EndsAllOfIt) {
  for (const char* mode :
       {"daemon", "ignore-signals", "stopped", "setsid", "threads"}) {
    SCOPED_TRACE(mode);
    unlink(Ready().c_str());
    Host host(GetParam(), Escapee(mode, Ready()), {.name = Name()});
    std::vector<pid_t> members = ReadyMembers(Ready());
    std::vector<LiveRun> runs = Find(Name());
    ASSERT_EQ(runs.size(), 1u);
    EXPECT_EQ(runs[0].info().containment, GetParam());
    EXPECT_EQ(runs[0].info().supervisor, getpid());
    absl::StatusOr<RunEnd> end = runs[0].End(Quickly());
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_TRUE(end->drained) << end->error;
    for (pid_t pid : members) EXPECT_FALSE(IsAlive(pid));
    const TreeReport& report = host.AwaitEnd();
    EXPECT_TRUE(report.drained) << ReportToJson(report, 0);
    EXPECT_THAT(report.errors, IsEmpty());
    EXPECT_TRUE(absl::IsNotFound(FindRuns(Name()).status()));
    // The handle is of no other.
    EXPECT_TRUE(absl::IsNotFound(runs[0].End().status()));
    EXPECT_THAT(*runs[0].Members(), IsEmpty());
    EXPECT_EQ(*runs[0].Wait(), true);
  }
}

TEST_P(Held, EndsGentlyFirst) {
  Host host(GetParam(),
            Shell("trap 'exit 3' TERM; echo $$ >" + Ready() +
                  "; while :; do sleep 0.02; done"),
            {.name = Name()});
  ReadyMembers(Ready());
  absl::StatusOr<RunEnd> end =
      Find(Name())[0].End({.grace = absl::Seconds(60)});
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->drained);
  EXPECT_FALSE(end->killed);
  EXPECT_EQ(host.AwaitEnd().status.ToString(), "exit code 3");
}

TEST_P(Held, SigkillIsAtOnce) {
  Host host(GetParam(), Escapee("ignore-signals", Ready()), {.name = Name()});
  ReadyMembers(Ready());
  absl::StatusOr<RunEnd> end = Find(Name())[0].End(
      {.signal = SIGKILL, .grace = absl::InfiniteDuration()});
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->drained);
  EXPECT_TRUE(end->killed);
}

TEST_F(LiveRunTest, SaysWhoSurvives) {
  std::string leaf = LeaveBehind();
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    std::string what = absl::StrCat(call, "@", path);
    bool fails = what == "write@cgroup.kill" || what == "pidfd_send_signal@" ||
                 what == "kill@";
    return fails ? EPERM : 0;
  });
  absl::StatusOr<RunEnd> end = Find(leaf)[0].End(
      {.signal = SIGKILL, .drain_timeout = absl::Milliseconds(200)});
  kernel::SetFaultHookForTesting(nullptr);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->drained);
  EXPECT_EQ(ErrnoOf(end->error), EPERM) << end->error;
  ASSERT_EQ(end->survivors.size(), 1u);
  EXPECT_EQ(end->survivors[0].pid, children_[0]);
}

TEST_F(LiveRunTest, OrphanedRunIsEndedAndRemoved) {
  std::string leaf = LeaveBehind();
  std::vector<LiveRun> runs = Find(leaf);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].info().state, RunState::kOrphaned);
  EXPECT_EQ(runs[0].info().supervisor_name, "");
  // The number may be another's by now.
  std::string number = absl::StrCat(runs[0].info().supervisor);
  EXPECT_TRUE(absl::IsNotFound(FindRuns(number).status()));
  absl::StatusOr<RunEnd> end = runs[0].End(Quickly());
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->drained) << end->error;
  EXPECT_NE(access(leaf.c_str(), F_OK), 0);
}

TEST_F(LiveRunTest, KeptRunIsEndedAndRemoved) {
  std::string leaf = LeaveBehind();
  absl::StatusOr<kernel::Cgroup> cgroup = kernel::Cgroup::Open(leaf);
  ASSERT_TRUE(cgroup.ok());
  ASSERT_TRUE(containment::SetKept(*cgroup).ok());
  std::vector<LiveRun> runs = Find(leaf);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].info().state, RunState::kKept);
  ASSERT_TRUE(runs[0].End(Quickly())->drained);
  EXPECT_NE(access(leaf.c_str(), F_OK), 0);
}

TEST_F(LiveRunTest, ALeafWithNobodyInItIsNoRun) {
  std::string leaf = MakeLeaf(Dead(), Name());
  EXPECT_TRUE(absl::IsNotFound(FindRuns(leaf).status()));
}

// Made again under the same name, it is another.
TEST_F(LiveRunTest, AnotherLeafInItsPlaceIsNotTouched) {
  std::string leaf = LeaveBehind();
  std::vector<LiveRun> runs = Find(leaf);
  ASSERT_EQ(runs.size(), 1u);
  kill(children_[0], SIGKILL);
  ASSERT_TRUE(rig::Eventually([&] { return rmdir(leaf.c_str()) == 0; }));
  ASSERT_EQ(mkdir(leaf.c_str(), 0755), 0);
  pid_t other = SleepIn(leaf);
  EXPECT_TRUE(absl::IsNotFound(runs[0].End(Quickly()).status()));
  EXPECT_TRUE(absl::IsNotFound(runs[0].Freeze()));
  EXPECT_TRUE(absl::IsNotFound(runs[0].Join()));
  EXPECT_EQ(*runs[0].Wait(), true);
  EXPECT_TRUE(IsAlive(other));
}

TEST_F(LiveRunTest, RefusesToEndItsCaller) {
  std::string leaf = LeaveBehind();
  EXPECT_EQ(InChild([&]() -> std::string {
              std::vector<LiveRun> runs = Find(leaf);
              absl::Status joined = runs[0].Join();
              if (!joined.ok()) return joined.ToString();
              for (const absl::Status& refused :
                   {runs[0].End().status(), runs[0].Freeze(),
                    runs[0].Wait().status()}) {
                if (!absl::IsFailedPrecondition(refused)) {
                  return refused.ToString();
                }
              }
              return "";
            }),
            "");
}

TEST_F(LiveRunTest, FreezesNestedCgroupsAsWell) {
  std::string leaf = LeaveBehind();
  std::string nested = leaf + "/nested";
  ASSERT_EQ(mkdir(nested.c_str(), 0755), 0);
  pid_t member = SleepIn(nested);
  LiveRun run = std::move(Find(leaf)[0]);
  EXPECT_THAT(run.info().pids, Contains(member));
  ASSERT_TRUE(run.Freeze().ok());
  EXPECT_EQ(Find(leaf)[0].info().state, RunState::kFrozen);
  EXPECT_THAT(rig::ReadAll(nested + "/cgroup.events"), HasSubstr("frozen 1"));
  ASSERT_TRUE(run.Thaw().ok());
  EXPECT_THAT(rig::ReadAll(nested + "/cgroup.events"), HasSubstr("frozen 0"));
  // Its end is not held up by frost.
  ASSERT_TRUE(run.Freeze().ok());
  EXPECT_TRUE(run.End({.grace = absl::Milliseconds(50)})->drained);
}

TEST_F(LiveRunTest, ThawSaysThatACgroupAboveIsFrozen) {
  std::string outer = MakeLeaf(Dead(), Name());
  std::string inner = MakeLeaf(Dead(), Name(), outer);
  SleepIn(inner);
  rig::WriteAll(outer + "/cgroup.freeze", "1");
  ASSERT_TRUE(rig::Eventually([&] {
    return absl::StrContains(rig::ReadAll(inner + "/cgroup.events"),
                             "frozen 1");
  }));
  LiveRun run = std::move(Find(inner)[0]);
  absl::Status thawed = run.Thaw(absl::Milliseconds(20));
  EXPECT_TRUE(absl::IsDeadlineExceeded(thawed)) << thawed;
  EXPECT_THAT(std::string(thawed.message()), HasSubstr("a cgroup above it"));
  rig::WriteAll(outer + "/cgroup.freeze", "0");
  EXPECT_TRUE(run.Thaw().ok());
}

TEST_F(LiveRunTest, WaitsForNoLongerThanItWasTold) {
  LiveRun run = std::move(Find(LeaveBehind())[0]);
  EXPECT_EQ(*run.Wait(absl::Milliseconds(20)), false);
  EXPECT_EQ(*run.Wait(absl::ZeroDuration()), false);
  // Of a run that ends while it is waited for.
  std::thread killer([&] { kill(children_[0], SIGKILL); });
  EXPECT_EQ(*run.Wait(), true);
  killer.join();
}

TEST_F(LiveRunTest, ManyRunsNeedFewDescriptors) {
  for (int i = 0; i < 100; ++i) SleepIn(MakeLeaf(Dead(), Name()));
  rig::FewDescriptors few(16);
  absl::StatusOr<std::vector<LiveRun>> runs = ListRuns();
  ASSERT_TRUE(runs.ok()) << runs.status();
  EXPECT_EQ(std::count_if(
                runs->begin(), runs->end(),
                [](const LiveRun& run) { return run.info().name == Name(); }),
            100);
}

TEST_F(LiveRunTest, SaysThatItHadNoDescriptorToLookWith) {
  LeaveBehind();
  rig::FewDescriptors few(0);
  EXPECT_EQ(ErrnoOf(ListRuns().status()), EMFILE);
}

}  // namespace
}  // namespace treekill
