// treekill ps: which runs are alive, and who is in them.
#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/cli/runs_fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class PsTest : public RunsTest {
 protected:
  std::unique_ptr<Program> StartEscapees(Arguments options = {});
  void ListMany(int runs);
  void ListWhileRunsEnd(int rounds);
};

// A leader, one in another session, and an orphan.
constexpr char kEscapees[] =
    "echo $$ >leader\n"
    "setsid sleep 600 &\n"
    "(sh -c 'echo $$ >orphan; exec sleep 600' &)\n"
    "while [ ! -s orphan ]; do sleep 0.02; done\n"
    ">ready; exec sleep 600\n";

std::unique_ptr<Program> PsTest::StartEscapees(Arguments options) {
  std::unique_ptr<Program> program =
      StartNamed(Name(), kEscapees, std::move(options));
  AwaitRest(Name(), 3);
  return program;
}

void End(Program& program) {
  program.Signal(SIGTERM);
  program.Wait();
}

TEST_F(PsTest, TellsOfARun) {
  std::unique_ptr<Program> program = StartEscapees();
  Json run = RunOf(Name());
  EXPECT_EQ(run["name"], Name());
  EXPECT_EQ(run["supervisor"], program->pid());
  EXPECT_EQ(run["supervisor_name"], "treekill");
  EXPECT_EQ(run["containment"], "cgroup");
  EXPECT_EQ(run["state"], "running");
  // Where systemd runs it is the unit that the test is in.
  if (!std::filesystem::exists("/run/systemd/system")) {
    EXPECT_EQ(run["unit"], nullptr);
  }
  EXPECT_EQ(run["uid"], geteuid());
  EXPECT_EQ(run["leader"], PidIn("leader"));
  EXPECT_EQ(run["command_name"], "sleep");
  EXPECT_EQ(run["command"], Json({"sleep", "600"}));
  EXPECT_GT(run["age"], 0.0);
  EXPECT_LT(run["age"], 3600.0);
  EXPECT_GT(run["cpu_time"], 0.0);
  EXPECT_EQ(run["member_count"], 3);
  EXPECT_EQ(run.count("members"), 0u);
  std::string leaf = run["leaf"];
  EXPECT_EQ(LeftLeaves(), std::vector<std::string>{leaf});
  EXPECT_EQ(leaf.substr(leaf.rfind('/') + 1), run["id"]);
  EXPECT_THAT(run["pids"].get<std::vector<pid_t>>(), Contains(PidIn("orphan")));
  End(*program);
}

TEST_F(PsTest, TellsWhoEscapedAndHow) {
  std::unique_ptr<Program> program = StartEscapees();
  Json run = RunOf(Name(), {"--tree"});
  EXPECT_EQ(run.count("pids"), 0u);
  ASSERT_EQ(run["members"].size(), 3u) << run;
  for (const Json& member : run["members"]) {
    pid_t pid = member["pid"];
    if (pid == PidIn("leader")) {
      EXPECT_EQ(member["escapes"], Json::array());
    } else if (pid == PidIn("orphan")) {
      EXPECT_EQ(member["escapes"], Json({"reparented"}));
    } else {
      EXPECT_EQ(member["escapes"], Json({"new-session"}));
    }
    EXPECT_EQ(member["reach"]["cgroup"], true);
  }
  End(*program);
}

// By pid, reach and escapes.
std::map<pid_t, std::pair<Json, Json>> ReachOf(const Json& members) {
  std::map<pid_t, std::pair<Json, Json>> reach;
  for (const Json& member : members) {
    reach[member["pid"]] = {member["reach"], member["escapes"]};
  }
  return reach;
}

class SeenBy : public PsTest,
               public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Cgroup, SeenBy, testing::Values("cgroup"));
INSTANTIATE_TEST_SUITE_P(Subreaper, SeenBy, testing::Values("subreaper"));

TEST_P(SeenBy, WhatTheReportWillSay) {
  std::unique_ptr<Program> program =
      StartEscapees({"--containment", GetParam(), "--die-with-parent", "-k",
                     "100ms", "--report", File("report")});
  EXPECT_TRUE(Eventually([&] { return SleepsIn(program->pid(), "poll"); }));
  Json members = RunOf(Name(), {"--tree"})["members"];
  EXPECT_EQ(members.size(), 3u);
  End(*program);
  EXPECT_EQ(ReachOf(members),
            ReachOf(Json::parse(ReadAll(File("report")))["members"]));
}

TEST_P(SeenBy, WhatTheReportWillSayWhenTheLeaderHasExited) {
  std::unique_ptr<Program> program =
      StartNamed(Name(), "sleep 600 &\nsetsid sleep 600 &\n>ready\n",
                 {"--containment", GetParam(), "--on-leak=wait", "-k", "100ms",
                  "--report", File("report")});
  AwaitRest(Name(), 2);
  EXPECT_TRUE(Eventually([&] { return SleepsIn(program->pid(), "poll"); }));
  Json run = RunOf(Name(), {"--tree"});
  EXPECT_EQ(run["leader"], nullptr);
  EXPECT_EQ(run["members"].size(), 2u) << run;
  End(*program);
  EXPECT_EQ(ReachOf(run["members"]),
            ReachOf(Json::parse(ReadAll(File("report")))["leaked"]));
}

TEST_F(PsTest, FindsWhoHasLeftTheCgroup) {
  std::unique_ptr<Program> program = StartNamed(
      Name(), absl::StrCat("sleep 600 & echo $! >away; echo $! >", OwnCgroup(),
                           "/cgroup.procs; >ready; exec sleep 600\n"));
  AwaitRest(Name(), 1);
  Json run = RunOf(Name(), {"--tree"});
  EXPECT_EQ(run["member_count"], 2);
  Json members = run["members"];
  ASSERT_EQ(members.size(), 2u) << members;
  EXPECT_EQ(members[1]["pid"], PidIn("away"));
  EXPECT_EQ(members[1]["escapes"], Json({"migrated"}));
  EXPECT_EQ(members[1]["reach"]["cgroup"], false);
  End(*program);
}

TEST_F(PsTest, IsATable) {
  std::unique_ptr<Program> program = StartEscapees();
  Outcome outcome = Treekill({"ps", Name()});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  std::vector<std::string> lines = absl::StrSplit(outcome.output, '\n');
  ASSERT_EQ(lines.size(), 3u) << outcome.output;
  std::vector<std::string> titles =
      absl::StrSplit(lines[0], ' ', absl::SkipEmpty());
  EXPECT_EQ(titles, (std::vector<std::string>{"NAME", "SUPERVISOR", "HELD",
                                              "BY", "AGE", "MEMBERS", "CPU",
                                              "MEM", "STATE", "COMMAND"}));
  std::vector<std::string> cells =
      absl::StrSplit(lines[1], ' ', absl::SkipEmpty());
  ASSERT_EQ(cells.size(), 10u) << lines[1];
  EXPECT_EQ(cells[0], Name());
  EXPECT_EQ(cells[1], absl::StrCat(program->pid()));
  EXPECT_EQ(cells[2], "cgroup");
  EXPECT_EQ(cells[4], "3");
  EXPECT_EQ(cells[7], "running");
  EXPECT_THAT(lines[1], HasSubstr(" sleep 600"));
  End(*program);
}

TEST_F(PsTest, DrawsTheTree) {
  std::unique_ptr<Program> program = StartEscapees();
  std::string leader = absl::StrCat(PidIn("leader"));
  std::string orphan = absl::StrCat(PidIn("orphan"));
  Outcome outcome = Treekill({"ps", "--tree", Name()});
  EXPECT_THAT(outcome.output, HasSubstr("\n|-" + leader + " S sleep 600\n"));
  EXPECT_THAT(outcome.output,
              HasSubstr("`-" + orphan + " S sleep 600 [reparented]\n"));
  EXPECT_THAT(outcome.output, HasSubstr("\n| `-"));
  EXPECT_THAT(outcome.output, HasSubstr(" S sleep 600 [new-session]\n"));
  auto utf8 =
      Start({"env", "LC_ALL=C.UTF-8", TreekillPath(), "ps", "--tree", Name()});
  EXPECT_THAT(utf8->Wait().output, HasSubstr("└─" + orphan + " S sleep"));
  End(*program);
}

TEST_F(PsTest, SeveralOfOneName) {
  std::unique_ptr<Program> one = StartNamed(Name("x"), kUntilDone);
  // Ages are counted in ticks: two of the same tick are in no order.
  EXPECT_TRUE(Eventually([&] { return RunOf(Name("x"))["age"] >= 0.02; }));
  unlink(File("ready").c_str());
  std::unique_ptr<Program> two = StartNamed(Name("x"), kUntilDone);
  Json runs = Runs({Name("x")});
  ASSERT_EQ(runs.size(), 2u);
  // Oldest first.
  EXPECT_EQ(runs[0]["supervisor"], one->pid());
  EXPECT_EQ(runs[1]["supervisor"], two->pid());
  EXPECT_NE(runs[0]["id"], runs[1]["id"]);
  std::string id = runs[1]["id"];
  std::string leaf = runs[1]["leaf"];
  for (const std::string& target :
       {id, leaf, leaf + "/", absl::StrCat(two->pid())}) {
    EXPECT_EQ(RunOf(target)["supervisor"], two->pid()) << target;
  }
  EXPECT_EQ(Runs({id, Name("x"), id}).size(), 2u);
  WriteAll(File("done"), "");
  one->Wait();
  two->Wait();
}

TEST_F(PsTest, APidIsANameFirst) {
  std::unique_ptr<Program> one = StartNamed(Name(), kUntilDone);
  unlink(File("ready").c_str());
  std::string pid = absl::StrCat(one->pid());
  std::unique_ptr<Program> two = StartNamed(pid, kUntilDone);
  EXPECT_EQ(RunOf(pid)["supervisor"], two->pid());
  WriteAll(File("done"), "");
  one->Wait();
  two->Wait();
}

TEST_F(PsTest, WithoutAName) {
  std::unique_ptr<Program> program = StartScript(kUntilDone);
  EXPECT_EQ(RunOf(absl::StrCat(program->pid()))["name"], "");
  Outcome outcome = Treekill({"ps"});
  EXPECT_THAT(outcome.output,
              HasSubstr(absl::StrCat(" ", program->pid(), " cgroup")));
  WriteAll(File("done"), "");
  program->Wait();
}

TEST_F(PsTest, UnknownNames) {
  for (const std::string& name :
       {std::string("no-such-run"), Name(), std::string("1"), std::string(""),
        std::string("/sys/fs/cgroup")}) {
    Outcome outcome = Treekill({"ps", name});
    EXPECT_EQ(outcome.exit_code(), 1) << name;
    EXPECT_EQ(outcome.output, "");
    EXPECT_EQ(outcome.errors, absl::StrCat("treekill: no run is called '", name,
                                           "'; 'treekill ps' lists them\n"));
  }
  std::unique_ptr<Program> program = StartNamed(Name(), kUntilDone);
  Outcome outcome = Treekill({"ps", "no-such-run", Name()});
  EXPECT_EQ(outcome.exit_code(), 1);
  EXPECT_THAT(outcome.output, HasSubstr(Name()));
  WriteAll(File("done"), "");
  program->Wait();
  EXPECT_EQ(Treekill({"ps", Name()}).exit_code(), 1);
}

TEST_F(PsTest, BadInput) {
  for (const Arguments& arguments :
       {Arguments{"--no-such"}, Arguments{"--unit=x", "name"},
        Arguments{"--unit="}, Arguments{"--json=1"}, Arguments{"--user"}}) {
    Arguments argv = {"ps"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    Outcome outcome = Treekill(argv);
    EXPECT_EQ(outcome.exit_code(), 125) << arguments[0];
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
  }
  EXPECT_THAT(Treekill({"ps", "--help"}).output,
              StartsWith("Usage: treekill ps "));
}

// ------------------------------------------------------------------ what holds

TEST_F(PsTest, HeldByASubreaper) {
  std::unique_ptr<Program> program = StartEscapees({"--containment=subreaper"});
  Json run = RunOf(Name());
  EXPECT_EQ(run["containment"], "subreaper");
  EXPECT_EQ(run["supervisor"], program->pid());
  EXPECT_EQ(run["leaf"], nullptr);
  EXPECT_EQ(run["leader"], PidIn("leader"));
  EXPECT_EQ(run["member_count"], 3);
  EXPECT_EQ(run["state"], "running");
  EXPECT_TRUE(run["cpu_time"].is_number());
  EXPECT_EQ(RunOf(run["id"])["name"], Name());
  Json members = RunOf(Name(), {"--tree"})["members"];
  ASSERT_EQ(members.size(), 3u);
  for (const Json& member : members) {
    EXPECT_EQ(member["reach"]["subreaper"], true);
    if (member["pid"] == PidIn("orphan")) {
      EXPECT_EQ(member["escapes"], Json({"reparented"}));
    }
  }
  End(*program);
}

TEST_F(PsTest, CountsTheCpuTime) {
  for (const char* containment : {"cgroup", "subreaper"}) {
    SCOPED_TRACE(containment);
    std::unique_ptr<Program> program =
        StartNamed(Name(), ">ready; while :; do :; done",
                   {absl::StrCat("--containment=", containment)});
    EXPECT_TRUE(Eventually([&] { return RunOf(Name())["cpu_time"] > 0.05; }));
    End(*program);
    unlink(File("ready").c_str());
  }
}

// Whoever calls himself a reaper is not believed by others than root.
TEST_F(PsTest, FalseReapers) {
  std::string forged = absl::StrCat("treekill: reaper of 1, holds treekill-",
                                    Name(), "-1-0000000000000001");
  std::string link = File("treekill-reaper");
  ASSERT_EQ(symlink("/bin/bash", link.c_str()), 0);
  ASSERT_EQ(chmod(directory().c_str(), 0755), 0);
  std::string script = absl::StrCat("exec -a '", forged, "' ", link,
                                    " -c 'sleep 600 & wait; :'");
  auto forger = Start(
      {"setpriv", "--reuid=65533", "--clear-groups", "bash", "-c", script});
  std::string treekill = CopyOf(TreekillPath());
  EXPECT_TRUE(Eventually([&] {
    return FindByCookie(cookie()).size() == 2 &&
           Treekill({"ps", Name()}).exit_code() == 0;
  }));
  EXPECT_EQ(Start({"setpriv", "--reuid=65534", "--clear-groups", treekill, "ps",
                   Name()})
                ->Wait()
                .exit_code(),
            1);
  KillByCookie(cookie());
}

TEST_F(PsTest, KeptRun) {
  std::unique_ptr<Program> program = StartNamed(Name(), kUntilDone);
  std::string leaf = RunOf(Name())["leaf"];
  ASSERT_EQ(setxattr(leaf.c_str(), "user.treekill.keep", "1", 1, 0), 0);
  EXPECT_EQ(RunOf(Name())["state"], "kept");
  EXPECT_EQ(RunOf(Name())["supervisor"], program->pid());
  WriteAll(File("done"), "");
  program->Wait();
}

TEST_F(PsTest, RunWhoseSupervisorIsGone) {
  std::unique_ptr<Program> program = StartNamed(Name(), kHardToKill);
  pid_t supervisor = program->pid();
  AwaitRest(Name(), 4);
  KillBoth(*program);
  Json run = RunOf(Name());
  EXPECT_EQ(run["state"], "orphaned");
  EXPECT_EQ(run["supervisor"], supervisor);
  EXPECT_EQ(run["supervisor_name"], nullptr);
  EXPECT_EQ(run["leader"], nullptr);
  EXPECT_EQ(run["command_name"], "sleep");
  EXPECT_EQ(Gc().exit_code(), 0);
  EXPECT_EQ(Treekill({"ps", Name()}).exit_code(), 1);
}

TEST_F(PsTest, RunInARun) {
  std::unique_ptr<Program> program =
      StartNamed(Name("out"),
                 absl::StrCat("'", TreekillPath(), "' run --name=", Name("in"),
                              " -- sh -c '>ready; exec sleep 600'; :"));
  AwaitRest(Name("in"), 1);
  Json outer = RunOf(Name("out"));
  Json inner = RunOf(Name("in"));
  EXPECT_THAT(inner["leaf"].get<std::string>(),
              StartsWith(outer["leaf"].get<std::string>() + "/"));
  EXPECT_EQ(inner["member_count"], 1);
  EXPECT_THAT(outer["pids"].get<std::vector<pid_t>>(),
              Contains(inner["leader"].get<pid_t>()));
  End(*program);
}

TEST_F(PsTest, RunOfAnotherPidNamespace) {
  Arguments argv = {
      "unshare",
      "-pf",
      "--mount-proc",
      TreekillPath(),
      "run",
      "--name=" + Name(),
      "--",
      "sh",
      "-c",
      "setsid sleep 600 & >" + File("ready") + "; exec sleep 600"};
  std::unique_ptr<Program> program = Start(argv);
  ASSERT_TRUE(Comes("ready"));
  AwaitRest(Name(), 2);
  Json run = RunOf(Name(), {"--tree"});
  EXPECT_EQ(run["state"], "running");
  ASSERT_EQ(run["members"].size(), 2u) << run;
  EXPECT_EQ(run["leader"], run["members"][0]["pid"]);
  EXPECT_EQ(run["members"][0]["escapes"], Json::array());
  EXPECT_EQ(run["members"][1]["escapes"], Json({"new-session"}));
  // From within, nobody of outside is seen.
  Arguments inside = {"unshare", "-pf",    "--mount-proc", TreekillPath(),
                      "ps",      "--json", Name()};
  Json seen = Json::parse(Start(inside)->Wait().output, nullptr, false);
  ASSERT_EQ(seen["runs"].size(), 1u) << seen;
  EXPECT_EQ(seen["runs"][0]["supervisor"], nullptr);
  EXPECT_EQ(seen["runs"][0]["pids"], Json::array());
  // Where /proc is another's, its numbers say nothing.
  Outcome blind = Start({"unshare", "-pf", TreekillPath(), "ps"})->Wait();
  EXPECT_EQ(blind.exit_code(), 125);
  EXPECT_THAT(blind.errors, HasSubstr("/proc"));
  // The namespace's init, and everybody with it. While another process is
  // dying gc does not know whether that is the one it looks for.
  KillByCookie(cookie());
  program->Wait();
  EXPECT_TRUE(Eventually([&] {
    Gc();
    return LeftLeaves().empty();
  }));
}

TEST_F(PsTest, AnOrdinaryUserSeesTheRunsOfOthers) {
  std::unique_ptr<Program> program = StartNamed(Name(), kUntilDone);
  ASSERT_EQ(chmod(directory().c_str(), 0755), 0);
  std::string treekill = CopyOf(TreekillPath());
  std::string leaf = RunOf(Name())["leaf"];
  // What it holds is hidden then, but not that it is there.
  for (mode_t mode : {0755, 0}) {
    ASSERT_EQ(chmod(leaf.c_str(), mode), 0);
    for (const char* option : {"--json", "--tree"}) {
      Outcome outcome =
          Start({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                 treekill, "ps", option, Name()})
              ->Wait();
      EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
      EXPECT_THAT(outcome.output,
                  AllOf(HasSubstr(Name()), HasSubstr("running")));
    }
  }
  WriteAll(File("done"), "");
  program->Wait();
}

void PsTest::ListMany(int runs) {
  std::vector<std::unique_ptr<Program>> programs;
  for (int i = 0; i < runs; ++i) {
    programs.push_back(StartRun(
        {absl::StrCat("--name=", Name(), "-", i), "--", "sleep", "600"}));
  }
  auto count = [&] {
    Json all = Runs({});
    return std::count_if(all.begin(), all.end(), [&](const Json& run) {
      std::string name = run["name"];
      return name.starts_with(Name() + "-") && run["command_name"] == "sleep";
    });
  };
  EXPECT_TRUE(Eventually([&] { return count() == runs; }));
  for (auto& program : programs) program->Signal(SIGTERM);
  for (auto& program : programs) program->Wait();
  EXPECT_EQ(count(), 0);
}

using ThoroughPsTest = PsTest;
using ThoroughPsAloneTest = PsTest;

TEST_F(PsTest, ManyAtOnce) { ListMany(10); }
TEST_F(ThoroughPsAloneTest, AHundredAtOnce) { ListMany(100); }

TEST_F(PsTest, WhereNoCgroupIsMounted) {
  std::unique_ptr<Program> program =
      StartNamed(Name(), kUntilDone, {"--containment=subreaper"});
  Outcome outcome = Start({"unshare", "-m", "sh", "-c",
                           "umount -a -l -t cgroup2 && exec \"$@\"", "sh",
                           TreekillPath(), "ps", Name()})
                        ->Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr(Name()));
  WriteAll(File("done"), "");
  program->Wait();
}

// Runs come and go while they are looked at.
void PsTest::ListWhileRunsEnd(int rounds) {
  auto loop = Start({"sh", "-c",
                     "while [ ! -e " + File("done") + " ]; do " +
                         TreekillPath() + " run -- sh -c 'true & :'; done"});
  for (int i = 0; i < rounds; ++i) {
    Outcome outcome = Treekill({"ps", "--tree"});
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
  }
  WriteAll(File("done"), "");
  loop->Wait();
}

TEST_F(PsTest, WhileRunsEnd) { ListWhileRunsEnd(10); }
TEST_F(ThoroughPsTest, WhileRunsEnd) { ListWhileRunsEnd(100); }

}  // namespace
}  // namespace treekill::rig
