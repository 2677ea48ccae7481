// treekill gc: ends what dead supervisors have left, and nothing else.
#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/cli/death_fixture.h"
#include "treekill/containment/leaf_name.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kNothing[] = "nothing to collect\n";

class GcTest : public DeathTest {
 protected:
  // A tree whose treekill and guardian are dead; returns its leaf.
  std::string LeaveBehind(const std::string& script = kHardToKill,
                          Arguments options = {}) {
    std::vector<std::string> before = LeftLeaves();
    for (const char* name : {"ready", "deaf", "leader"}) {
      unlink(File(name).c_str());
    }
    std::unique_ptr<Program> program = StartScript(script, std::move(options));
    supervisor_ = program->pid();
    pid_t leader = PidIn("leader");
    KillBoth(*program);
    // It dies with treekill, but not in the same moment.
    EXPECT_TRUE(Eventually([&] { return !IsAlive(leader); }));
    for (const std::string& leaf : LeftLeaves()) {
      if (std::find(before.begin(), before.end(), leaf) == before.end()) {
        return leaf;
      }
    }
    ADD_FAILURE() << "no leaf is left";
    return "";
  }

  // Kills treekill while its tree is in its grace, and waits until the guardian
  // has taken over.
  void KillInGrace(Program& program, std::string* leaf) {
    pid_t guardian = GuardianOf(program.pid());
    std::vector<std::string> leaves = LeftLeaves();
    ASSERT_THAT(leaves, SizeIs(1));
    *leaf = leaves[0];
    program.Signal(SIGTERM);
    ASSERT_TRUE(Comes("term"));
    program.Signal(SIGKILL);
    program.Wait();
    AwaitTakenOver(guardian);
  }

  void ExpectCollected(const Outcome& outcome, const std::string& leaf) {
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
    EXPECT_THAT(outcome.output, HasSubstr(leaf + ": supervisor "));
    EXPECT_NE(access(leaf.c_str(), F_OK), 0);
  }

  void ExpectNothingCollected(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_EQ(outcome.output, kNothing);
  }

  Json GcJson(Arguments options = {}) {
    options.push_back("--json");
    Outcome outcome = Gc(options);
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'),
              1);
    Json json = Json::parse(outcome.output, nullptr,
                            /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << outcome.output;
    return json.is_object() ? json : Json::object();
  }

  // Pids as `cgroup.procs` has them.
  static std::vector<pid_t> MembersOf(const std::string& cgroup) {
    std::vector<pid_t> pids;
    for (absl::string_view line : absl::StrSplit(
             ReadAll(cgroup + "/cgroup.procs"), '\n', absl::SkipEmpty())) {
      pid_t pid = 0;
      if (absl::SimpleAtoi(line, &pid)) pids.push_back(pid);
    }
    return pids;
  }

  // A cgroup of this name, with a process in it that ends by no signal but
  // SIGKILL.
  std::unique_ptr<Program> MakeCgroup(const std::string& cgroup) {
    EXPECT_EQ(mkdir(cgroup.c_str(), 0755), 0) << cgroup;
    auto program = Start({"sleep", "600"});
    WriteAll(cgroup + "/cgroup.procs", absl::StrCat(program->pid()));
    return program;
  }

  void RemoveCgroup(const std::string& cgroup,
                    std::unique_ptr<Program> member) {
    member.reset();
    EXPECT_TRUE(Eventually([&] { return rmdir(cgroup.c_str()) == 0; }))
        << cgroup;
  }

  pid_t supervisor_ = 0;
};

// --------------------------------------------------------------- what it does

TEST_F(GcTest, DryRunSaysWhatItWouldDo) {
  std::string leaf = LeaveBehind();
  std::vector<pid_t> members = MembersOf(leaf);
  ASSERT_THAT(members, Not(IsEmpty()));
  Outcome outcome = Gc({"--dry-run"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(outcome.output,
              StartsWith(absl::StrCat(leaf, ": supervisor ", supervisor_,
                                      " is gone; would kill ", members.size(),
                                      " processes and remove it: ")));
  for (pid_t pid : members) {
    EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat(pid, " (")));
  }
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1);
  EXPECT_EQ(MembersOf(leaf), members);
  ExpectCollected(Gc(), leaf);
}

TEST_F(GcTest, EndsAndRemoves) {
  std::string leaf = LeaveBehind();
  size_t count = MembersOf(leaf).size();
  Outcome outcome = Gc();
  ExpectCollected(outcome, leaf);
  EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat("killed ", count)));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  ExpectNothingCollected(Gc());
  ExpectNothingCollected(Gc({"--dry-run"}));
}

TEST_F(GcTest, Json) {
  std::string leaf = LeaveBehind(kHardToKill, {"--name=a-name"});
  std::vector<pid_t> members = MembersOf(leaf);
  for (bool dry_run : {true, false}) {
    Json json = GcJson(dry_run ? Arguments{"--dry-run"} : Arguments{});
    EXPECT_EQ(json["schema_version"], 1);
    EXPECT_EQ(json["dry_run"], dry_run);
    ASSERT_EQ(json["leaves"].size(), 1u) << json;
    const Json& found = json["leaves"][0];
    EXPECT_EQ(found["leaf"], leaf);
    EXPECT_EQ(found["name"], "a-name");
    EXPECT_EQ(found["supervisor"], supervisor_);
    EXPECT_EQ(found["removed"], !dry_run);
    EXPECT_EQ(found["survivors"], Json::array());
    EXPECT_EQ(found["error"], nullptr);
    ASSERT_EQ(found["members"].size(), members.size());
    for (const Json& member : found["members"]) {
      EXPECT_THAT(members, Contains(member["pid"].get<pid_t>()));
      EXPECT_THAT(member["name"], testing::AnyOf("sleep", "bash"));
      EXPECT_GT(member["start_time"], 0);
    }
  }
  Json json = GcJson();
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["leaves"], Json::array());
}

TEST_F(GcTest, SeveralAtATime) {
  for (int i = 0; i < 3; ++i) LeaveBehind();
  EXPECT_THAT(LeftLeaves(), SizeIs(3));
  Outcome outcome = Gc();
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 3);
  ExpectAllGone(0);
}

TEST_F(GcTest, MembersOfEveryKind) {
  for (const char* mode : {"ignore-signals", "stopped", "frozen", "nested",
                           "nested-locked", "threads", "daemon"}) {
    SCOPED_TRACE(mode);
    unlink(File("ready").c_str());
    std::unique_ptr<Program> program =
        StartRun({EscapeePath(), mode, "--cookie=" + cookie(),
                  "--ready=" + File("ready"), "--then=stay"});
    ASSERT_TRUE(Comes("ready"));
    KillBoth(*program);
    ASSERT_THAT(LeftLeaves(), Not(IsEmpty()));
    EXPECT_THAT(FindByCookie(cookie()), Not(IsEmpty()));
    EXPECT_EQ(Gc().exit_code(), 0);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
  }
}

TEST_F(GcTest, EmptyLeaf) {
  std::string leaf =
      LeaveBehind("echo $$ >leader; touch ready; exec sleep 600");
  EXPECT_TRUE(Eventually([&] { return MembersOf(leaf).empty(); }));
  ExpectCollected(Gc(), leaf);
}

// --------------------------------------------------------- what it lets alone

TEST_F(GcTest, LiveRun) {
  std::unique_ptr<Program> program = StartScript(kUntilDone);
  ExpectNothingCollected(Gc());
  program->Signal(SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return StateOf(program->pid()) == 'T'; }));
  ExpectNothingCollected(Gc());
  program->Signal(SIGCONT);
  WriteAll(File("done"), "");
  EXPECT_EQ(program->Wait().exit_code(), 7);
}

TEST_F(GcTest, TreeInItsGrace) {
  std::unique_ptr<Program> program = StartScript(kSlowMember, {"-k", "120s"});
  std::string leaf;
  ASSERT_NO_FATAL_FAILURE(KillInGrace(*program, &leaf));
  ExpectNothingCollected(Gc());
  EXPECT_FALSE(Exists("late"));
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  ExpectAllGone(0);
}

TEST_F(GcTest, GuardianThatIsKilledInTheGrace) {
  std::unique_ptr<Program> program = StartScript(kSlowMember, {"-k", "120s"});
  pid_t guardian = GuardianOf(program->pid());
  std::string leaf;
  ASSERT_NO_FATAL_FAILURE(KillInGrace(*program, &leaf));
  kill(guardian, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return !IsGuardianAlive(guardian); }));
  ExpectCollected(Gc(), leaf);
  EXPECT_FALSE(Exists("late"));
}

TEST_F(GcTest, CgroupsOfOthers) {
  for (const char* name :
       {"treekill-foo", "treekill-1-zz", "treekill", "treekill-", "other",
        "treekill-999999999-00000000000000", "xtreekill-1-0000000000000001",
        "treekill-0-0000000000000001", "treekill-a-1-000000000000000G"}) {
    SCOPED_TRACE(name);
    std::string cgroup = absl::StrCat(OwnCgroup(), "/", name);
    std::unique_ptr<Program> member = MakeCgroup(cgroup);
    ExpectNothingCollected(Gc());
    EXPECT_THAT(MembersOf(cgroup), ElementsAre(member->pid()));
    RemoveCgroup(cgroup, std::move(member));
  }
}

TEST_F(GcTest, KeptLeaf) {
  std::string leaf = LeaveBehind();
  ASSERT_EQ(setxattr(leaf.c_str(), "user.treekill.keep", "1", 1, 0), 0);
  std::vector<pid_t> members = MembersOf(leaf);
  ExpectNothingCollected(Gc());
  EXPECT_EQ(MembersOf(leaf), members);
  ASSERT_EQ(removexattr(leaf.c_str(), "user.treekill.keep"), 0);
  ExpectCollected(Gc(), leaf);
}

TEST_F(GcTest, PidThatWasUsedAgain) {
  std::optional<kernel::ProcessStat> self = kernel::ReadProcessStat(0);
  ASSERT_TRUE(self.has_value());
  containment::LeafOwner owner = containment::ThisProcess();
  for (bool before : {true, false}) {
    absl::Duration away = absl::Seconds(before ? -1 : 1);
    owner.moment = self->StartedAt() + away;
    std::string cgroup = absl::StrCat(
        OwnCgroup(), "/", containment::FormatLeafName({"reuse", owner}));
    SCOPED_TRACE(cgroup);
    std::unique_ptr<Program> member = MakeCgroup(cgroup);
    Outcome outcome = Gc();
    if (before) {
      ExpectCollected(outcome, cgroup);
      EXPECT_EQ(member->Wait().signal(), SIGKILL);
    } else {
      ExpectNothingCollected(outcome);
      EXPECT_THAT(MembersOf(cgroup), ElementsAre(member->pid()));
      RemoveCgroup(cgroup, std::move(member));
    }
  }
}

// The namespace's init is another, so that it lives on.
TEST_F(GcTest, AnotherPidNamespace) {
  Arguments inner = ScriptRun(kHardToKill);
  inner.insert(inner.begin(), {TreekillPath(), "run"});
  Arguments outer = {"unshare", "-pf", "--mount-proc",
                     "bash",    "-c",  "\"$@\" & wait; sleep 600",
                     "init"};
  outer.insert(outer.end(), inner.begin(), inner.end());
  std::unique_ptr<Program> program = Start(outer);
  ASSERT_TRUE(Comes("ready"));
  ASSERT_THAT(LeftLeaves(), SizeIs(1));
  std::string leaf = LeftLeaves()[0];
  ExpectNothingCollected(Gc());
  pid_t supervisor = 0;
  for (pid_t pid : FindByCookie(cookie())) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    if (stat.has_value() && stat->comm == "treekill") supervisor = pid;
  }
  ASSERT_NE(supervisor, 0);
  pid_t guardian = GuardianOf(supervisor);
  kill(guardian, SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return StateOf(guardian) == 'T'; }));
  kill(supervisor, SIGKILL);
  kill(guardian, SIGKILL);
  EXPECT_TRUE(
      Eventually([&] { return !IsAlive(supervisor) && !IsAlive(guardian); }));
  EXPECT_THAT(MembersOf(leaf), Not(IsEmpty()));
  ExpectCollected(Gc(), leaf);
  // The init, by SIGKILL and from outside.
  KillByCookie(cookie());
}

TEST_F(GcTest, AnotherUsers) {
  std::string leaf = LeaveBehind();
  std::vector<pid_t> members = MembersOf(leaf);
  ExpectNothingCollected(
      Start({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             TreekillPath(), "gc", OwnCgroup()})
          ->Wait());
  EXPECT_EQ(MembersOf(leaf), members);
  ExpectCollected(Gc(), leaf);
}

TEST_F(GcTest, DeadRunInALiveOne) {
  Arguments inner = ScriptRun(kHardToKill);
  inner.insert(inner.begin(), {TreekillPath(), "run"});
  Arguments outer = {"bash", "-c",
                     "\"$@\" & echo $! >" + File("inner") + "; while [ ! -e " +
                         File("done") + " ]; do sleep 0.02; done; exit 7",
                     "outer"};
  outer.insert(outer.end(), inner.begin(), inner.end());
  std::unique_ptr<Program> program = StartRun(outer);
  ASSERT_TRUE(Comes("ready"));
  pid_t supervisor = PidIn("inner");
  pid_t guardian = GuardianOf(supervisor);
  std::vector<std::string> leaves = LeftLeaves();
  ASSERT_THAT(leaves, SizeIs(2));
  std::sort(leaves.begin(), leaves.end());
  kill(guardian, SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return StateOf(guardian) == 'T'; }));
  kill(supervisor, SIGKILL);
  kill(guardian, SIGKILL);
  EXPECT_TRUE(
      Eventually([&] { return !IsAlive(supervisor) && !IsAlive(guardian); }));
  EXPECT_THAT(MembersOf(leaves[1]), Not(IsEmpty()));
  ExpectCollected(Gc(), leaves[1]);
  EXPECT_THAT(LeftLeaves(), ElementsAre(leaves[0]));
  WriteAll(File("done"), "");
  EXPECT_EQ(program->Wait().exit_code(), 7);
}

// ------------------------------------------------------------------ bad input

TEST_F(GcTest, BadInput) {
  for (const Arguments& arguments :
       {Arguments{"/no/such/folder"}, Arguments{"/tmp"}, Arguments{"/proc"},
        Arguments{"/etc/passwd"}, Arguments{OwnCgroup() + "/cgroup.procs"},
        Arguments{OwnCgroup(), OwnCgroup()}, Arguments{"--no-such-option"},
        Arguments{"--dry-run=1"}, Arguments{"-z"}, Arguments{"/\x1b[2J\n"}}) {
    SCOPED_TRACE(arguments[0]);
    Arguments argv = {TreekillPath(), "gc"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    Outcome outcome = Start(argv)->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
    EXPECT_THAT(outcome.errors, Not(HasSubstr("\x1b")));
  }
}

TEST_F(GcTest, Help) {
  for (const char* option : {"--help", "-h"}) {
    Outcome outcome = Start({TreekillPath(), "gc", option})->Wait();
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.output, StartsWith("Usage: treekill gc "));
    EXPECT_EQ(outcome.errors, "");
  }
}

TEST_F(GcTest, NobodyReadsItsOutput) {
  std::string leaf = LeaveBehind();
  Outcome outcome = Start({TreekillPath(), "gc", OwnCgroup()}, [] {
                      close(STDOUT_FILENO);
                    })->Wait();
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_NE(access(leaf.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace treekill::rig
