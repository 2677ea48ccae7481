// What is told of a tree whose time is over, and that it costs the tree's end
// nothing.
#include <sys/socket.h>

#include <algorithm>
#include <optional>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/process_directory.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"

namespace treekill {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr absl::Duration kLong = absl::Minutes(5);

class DiagnosisTest : public SupervisedTest {
 protected:
  // Its time is over at once; that has no effect before the supervisor is
  // served.
  Tree Spawn(const Command& command, TreeOptions options = {}) {
    options.timeout = absl::Milliseconds(1);
    options.diagnose_timeout = true;
    return SupervisedTest::Spawn(command, options);
  }

  void DiagnoseSleepers(int count);
  void DiagnoseForkBomb(int lineages);

  // With as many members, all of which sleep in what they are there for. A
  // single look could be at one that is still starting.
  Tree SpawnScript(const std::string& script, size_t members,
                   TreeOptions options = {}) {
    Tree tree = Spawn(Shell(script), std::move(options));
    int steady = 0;
    EXPECT_TRUE(rig::Eventually([&] {
      absl::StatusOr<std::vector<Member>> now = tree.Members();
      bool asleep = now.ok() && now->size() == members &&
                    std::all_of(now->begin(), now->end(), IsAsleep);
      steady = asleep ? steady + 1 : 0;
      return steady == 5;
    }));
    return tree;
  }

  static bool IsAsleep(const Member& member) {
    if (member.name == "sleep") return rig::SleepsIn(member.pid, "nanosleep");
    return rig::SleepsIn(member.pid, member.name == "cat" ? "pipe" : "wait");
  }

  // Until the diagnosis is there; then the teardown has begun.
  const Diagnosis* Diagnose(Tree& tree) {
    EXPECT_TRUE(rig::Eventually([&] {
      return !supervisor_->Dispatch().ok() ||
             tree.report().diagnosis.has_value();
    }));
    return tree.report().diagnosis.has_value() ? &*tree.report().diagnosis
                                               : nullptr;
  }

  static const DiagnosedMember* Find(const Diagnosis& diagnosis,
                                     const std::string& name) {
    for (const DiagnosedMember& diagnosed : diagnosis.members) {
      if (diagnosed.member.name == name) return &diagnosed;
    }
    ADD_FAILURE() << "no " << name;
    return nullptr;
  }

  void ExpectWellEnded(Tree& tree) {
    ASSERT_TRUE(WaitForEnd(tree));
    EXPECT_EQ(tree.report().reason, EndReason::kTimeout);
    EXPECT_TRUE(tree.report().drained);
    EXPECT_THAT(tree.report().errors, IsEmpty());
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
};

constexpr char kPipeline[] = "sleep 600 | cat; :";

// What is to be seen of kPipeline however it is held.
void ExpectPipeline(const Diagnosis& diagnosis, pid_t leader) {
  EXPECT_TRUE(diagnosis.members_error.ok()) << diagnosis.members_error;
  EXPECT_EQ(diagnosis.alive, 3);
  ASSERT_THAT(diagnosis.members, SizeIs(3));
  EXPECT_EQ(diagnosis.members[0].member.pid, leader);
  EXPECT_EQ(diagnosis.members[0].depth, 0);
  std::map<std::string, const DiagnosedMember*> by_name;
  for (const DiagnosedMember& diagnosed : diagnosis.members) {
    EXPECT_EQ(diagnosed.member.state, 'S');
    EXPECT_THAT(diagnosed.member.wait_channel, Not(HasSubstr("freezer")));
    EXPECT_TRUE(diagnosed.streams_error.ok()) << diagnosed.streams_error;
    by_name[diagnosed.member.name] = &diagnosed;
  }
  ASSERT_THAT(by_name, SizeIs(3));
  for (const char* name : {"sleep", "cat"}) {
    EXPECT_EQ(by_name[name]->depth, 1);
    EXPECT_EQ(by_name[name]->member.parent, leader);
  }
  // Before Linux 5.16 it is not told.
  if (!by_name["cat"]->member.wait_channel.empty()) {
    EXPECT_THAT(by_name["sleep"]->member.wait_channel, HasSubstr("nanosleep"));
    EXPECT_THAT(by_name["cat"]->member.wait_channel, HasSubstr("pipe"));
  }
  if (geteuid() == 0) {
    EXPECT_THAT(by_name["cat"]->kernel_stack,
                HasSubstr(by_name["cat"]->member.wait_channel));
    EXPECT_THAT(by_name["cat"]->kernel_stack, Not(HasSubstr("freezer")));
  }
  const std::vector<OpenStream>& input = by_name["cat"]->streams;
  ASSERT_THAT(input, Not(IsEmpty()));
  EXPECT_EQ(input[0].fd, 0);
  EXPECT_TRUE(input[0].reads && !input[0].writes);
  auto shared = diagnosis.shared_streams.find(input[0].target);
  ASSERT_NE(shared, diagnosis.shared_streams.end());
  EXPECT_THAT(shared->second,
              testing::UnorderedElementsAre(
                  AllOf(Field(&StreamHolder::pid, by_name["sleep"]->member.pid),
                        Field(&StreamHolder::reads, false),
                        Field(&StreamHolder::writes, true)),
                  AllOf(Field(&StreamHolder::pid, by_name["cat"]->member.pid),
                        Field(&StreamHolder::reads, true),
                        Field(&StreamHolder::writes, false))));
}

TEST_F(DiagnosisTest, Pipeline) {
  Tree tree = SpawnScript(kPipeline, 3);
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  EXPECT_TRUE(diagnosis->frozen) << diagnosis->freeze_error;
  EXPECT_TRUE(diagnosis->freeze_error.ok()) << diagnosis->freeze_error;
  EXPECT_GT(diagnosis->run_time, absl::ZeroDuration());
  ExpectPipeline(*diagnosis, tree.leader());
  ExpectWellEnded(tree);
}

TEST_F(DiagnosisTest, NothingIsToldThatWasNotAskedFor) {
  absl::StatusOr<Tree> tree = supervisor_->Spawn(
      Shell("sleep 600"), {.timeout = absl::Milliseconds(1)});
  ASSERT_TRUE(tree.ok()) << tree.status();
  ExpectWellEnded(*tree);
  EXPECT_FALSE(tree->report().diagnosis.has_value());
}

TEST_F(DiagnosisTest, AnEndBeforeTheTimeout) {
  absl::StatusOr<Tree> tree = supervisor_->Spawn(
      Shell("exit 0"), {.timeout = kLong, .diagnose_timeout = true});
  ASSERT_TRUE(tree.ok()) << tree.status();
  ASSERT_TRUE(WaitForEnd(*tree));
  EXPECT_FALSE(tree->report().diagnosis.has_value());
}

// A step that goes to the leader only thaws nobody by itself.
TEST_F(DiagnosisTest, TheTreeIsThawedAfterIt) {
  Tree tree = SpawnScript(kPipeline, 3,
                          {.teardown = {.kill_mode = KillMode::kProcess,
                                        .steps = {{SIGURG, kLong}}}});
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  EXPECT_TRUE(diagnosis->frozen);
  EXPECT_EQ(rig::ReadAll(tree.leaf() + "/cgroup.freeze"), "0\n");
  EXPECT_TRUE(rig::Eventually([&] {
    return absl::StrContains(rig::ReadAll(tree.leaf() + "/cgroup.events"),
                             "frozen 0");
  }));
  tree.Stop(SIGKILL);
  ExpectWellEnded(tree);
}

TEST_F(DiagnosisTest, StoppedMember) {
  Tree tree = Spawn(Escapee("stopped", File("ready")));
  std::vector<pid_t> stopped = ReadyMembers(File("ready"));
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  EXPECT_TRUE(diagnosis->frozen) << diagnosis->freeze_error;
  ASSERT_THAT(stopped, SizeIs(1));
  EXPECT_THAT(diagnosis->members,
              Contains(Field(&DiagnosedMember::member,
                             AllOf(Field(&Member::pid, stopped[0]),
                                   Field(&Member::state, 'T')))));
  ExpectWellEnded(tree);
}

TEST_F(DiagnosisTest, OneThatRunsWaitsForNothing) {
  Tree tree = Spawn(Shell("while :; do :; done"));
  ASSERT_TRUE(rig::Eventually([&] {
    std::optional<kernel::ProcessStat> stat =
        kernel::ReadProcessStat(tree.leader());
    return stat.has_value() && stat->comm == "sh" && stat->state == 'R';
  }));
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  ASSERT_THAT(diagnosis->members, SizeIs(1));
  EXPECT_EQ(diagnosis->members[0].member.state, 'R');
  EXPECT_EQ(diagnosis->members[0].member.wait_channel, "");
  ExpectWellEnded(tree);
}

// Shared with nobody of the tree.
TEST_F(DiagnosisTest, SocketsAreStreams) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Tree tree = Spawn({.argv = {"sleep", "600"},
                     .stdin_ = Stream::Null(),
                     .stdout_ = Stream::Null(),
                     .stderr_ = Stream::Null(),
                     .extra_fds = {{.fd = ends[0], .number = 5}}});
  WaitForSleep(tree.leader());
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  ASSERT_THAT(diagnosis->members, SizeIs(1));
  const std::vector<OpenStream>& streams = diagnosis->members[0].streams;
  ASSERT_THAT(streams, SizeIs(1));
  EXPECT_EQ(streams[0].fd, 5);
  EXPECT_EQ(streams[0].target, kernel::TargetOfFd(ends[0]));
  EXPECT_TRUE(streams[0].reads && streams[0].writes);
  EXPECT_THAT(diagnosis->shared_streams, IsEmpty());
  for (int end : ends) close(end);
  ExpectWellEnded(tree);
}

// As for an ordinary user in a setuid program.
TEST_F(DiagnosisTest, DescriptorsThatMayNotBeListed) {
  Tree tree = SpawnScript(kPipeline, 3);
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    bool hit = call == std::string("open") && path == std::string("fd");
    return hit ? EACCES : 0;
  });
  const Diagnosis* diagnosis = Diagnose(tree);
  kernel::SetFaultHookForTesting(nullptr);
  ASSERT_NE(diagnosis, nullptr);
  ASSERT_THAT(diagnosis->members, SizeIs(3));
  for (const DiagnosedMember& diagnosed : diagnosis->members) {
    EXPECT_TRUE(absl::IsPermissionDenied(diagnosed.streams_error));
    EXPECT_EQ(diagnosed.member.state, 'S');
  }
  ExpectWellEnded(tree);
}

TEST_F(DiagnosisTest, Daemon) {
  Tree tree = Spawn(Escapee("daemon", File("ready")));
  std::vector<pid_t> daemon = ReadyMembers(File("ready"));
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  ASSERT_THAT(daemon, SizeIs(1));
  EXPECT_THAT(
      diagnosis->members,
      Contains(AllOf(Field(&DiagnosedMember::depth, 0),
                     Field(&DiagnosedMember::member,
                           AllOf(Field(&Member::pid, daemon[0]),
                                 Field(&Member::escapes,
                                       Contains(Escape::kNewSession)))))));
  ExpectWellEnded(tree);
}

TEST_F(DiagnosisTest, InTheOrderOfTheProcessTree) {
  Tree tree = SpawnScript("sh -c 'sleep 601; :' & sh -c 'sleep 602; :'; :", 5);
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  std::vector<int> depths;
  for (const DiagnosedMember& diagnosed : diagnosis->members) {
    depths.push_back(diagnosed.depth);
  }
  EXPECT_THAT(depths, ElementsAre(0, 1, 2, 1, 2));
  for (size_t i : {2, 4}) {
    EXPECT_EQ(diagnosis->members[i].member.parent,
              diagnosis->members[i - 1].member.pid);
  }
  ExpectWellEnded(tree);
}

TEST_F(DiagnosisTest, WithoutACgroup) {
  for (Containment containment :
       {Containment::kSubreaper, Containment::kProcessGroup}) {
    SCOPED_TRACE(ContainmentName(containment));
    ASSERT_NO_FATAL_FAILURE(Create({.containment = containment}));
    Tree tree = SpawnScript(kPipeline, 3);
    const Diagnosis* diagnosis = Diagnose(tree);
    ASSERT_NE(diagnosis, nullptr);
    EXPECT_FALSE(diagnosis->frozen);
    EXPECT_TRUE(absl::IsUnimplemented(diagnosis->freeze_error))
        << diagnosis->freeze_error;
    ExpectPipeline(*diagnosis, tree.leader());
    ExpectWellEnded(tree);
  }
}

// Frozen it would stay if this process were killed.
TEST_F(DiagnosisTest, WithoutAGuardianNothingIsFrozen) {
  Tree tree = SpawnScript(kPipeline, 3,
                          {.on_supervisor_death = OnSupervisorDeath::kLeave});
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  EXPECT_FALSE(diagnosis->frozen);
  EXPECT_TRUE(absl::IsFailedPrecondition(diagnosis->freeze_error))
      << diagnosis->freeze_error;
  ExpectPipeline(*diagnosis, tree.leader());
  ExpectWellEnded(tree);
}

// Whatever fails, the tree ends, and is not said to have ended badly.
TEST_F(DiagnosisTest, FailuresAreToldInIt) {
  // To freeze and to thaw.
  static int faults_left;
  faults_left = 2;
  struct {
    kernel::FaultHook hook;
    bool is_frozen;
  } const kFaults[] = {
      {[](const char* call, const char* path) {
         bool hit = call == std::string("write") && path != nullptr &&
                    path == std::string("cgroup.freeze");
         return hit && faults_left-- > 0 ? EIO : 0;
       },
       false},
      {[](const char* call, const char* path) {
         bool hit =
             call == std::string("open") && path != nullptr &&
             (absl::StartsWith(path, "/proc/") || path == std::string("fd"));
         return hit ? EMFILE : 0;
       },
       true}};
  for (const auto& fault : kFaults) {
    Tree tree = SpawnScript(kPipeline, 3, {.describe_members = false});
    kernel::SetFaultHookForTesting(fault.hook);
    const Diagnosis* diagnosis = Diagnose(tree);
    kernel::SetFaultHookForTesting(nullptr);
    ASSERT_NE(diagnosis, nullptr);
    EXPECT_EQ(diagnosis->frozen, fault.is_frozen) << diagnosis->freeze_error;
    EXPECT_EQ(diagnosis->freeze_error.ok(), fault.is_frozen);
    EXPECT_EQ(diagnosis->alive, 3);
    EXPECT_THAT(diagnosis->members, SizeIs(fault.is_frozen ? 0 : 3));
    ASSERT_TRUE(WaitForEnd(tree));
    EXPECT_TRUE(tree.report().drained);
  }
}

void DiagnosisTest::DiagnoseSleepers(int count) {
  Command sleepers = Escapee("sleepers", File("ready"));
  sleepers.argv.push_back(absl::StrCat("--count=", count));
  Tree tree = Spawn(sleepers);
  ReadyMembers(File("ready"));
  const Diagnosis* diagnosis = Diagnose(tree);
  ASSERT_NE(diagnosis, nullptr);
  EXPECT_TRUE(diagnosis->frozen) << diagnosis->freeze_error;
  EXPECT_GT(diagnosis->alive, count);
  EXPECT_LE(diagnosis->members.size(), static_cast<size_t>(diagnosis->alive));
  ASSERT_THAT(diagnosis->members, Not(IsEmpty()));
  EXPECT_EQ(diagnosis->members[0].member.pid, tree.leader());
  ExpectWellEnded(tree);
}

// With as much time as it takes.
void DiagnosisTest::DiagnoseForkBomb(int lineages) {
  kernel::SetTimeLimitHookForTesting(
      [](const char* name, absl::Duration usual) {
        return strcmp(name, "dump") == 0 ? absl::Minutes(1) : usual;
      });
  Command bomb = Escapee("fork-bomb", File("ready"));
  bomb.argv.push_back(absl::StrCat("--count=", lineages));
  Tree tree =
      Spawn(bomb, {.teardown = {.steps = {{SIGTERM, absl::Seconds(1)}}}});
  ReadyMembers(File("ready"));
  const Diagnosis* diagnosis = Diagnose(tree);
  kernel::SetTimeLimitHookForTesting(nullptr);
  ASSERT_NE(diagnosis, nullptr);
  EXPECT_TRUE(diagnosis->frozen) << diagnosis->freeze_error;
  EXPECT_GT(diagnosis->alive, lineages);
  EXPECT_THAT(diagnosis->members, SizeIs(diagnosis->alive));
  ASSERT_TRUE(WaitForEnd(tree));
  EXPECT_TRUE(tree.report().drained);
}

using ThoroughDiagnosisAloneTest = DiagnosisTest;

TEST_F(DiagnosisTest, ManyMembers) { DiagnoseSleepers(50); }
// More than there is time for.
TEST_F(ThoroughDiagnosisAloneTest, ThousandsOfMembers) {
  DiagnoseSleepers(2000);
}

TEST_F(DiagnosisTest, ForkBomb) { DiagnoseForkBomb(8); }
TEST_F(ThoroughDiagnosisAloneTest, ForkBomb) { DiagnoseForkBomb(40); }

}  // namespace
}  // namespace treekill
