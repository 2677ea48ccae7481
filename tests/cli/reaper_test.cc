// --containment=subreaper: who is killed of those who hold the command, and
// what it finds there.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "tests/cli/death_fixture.h"
#include "tests/cli/fork_bomb.h"
#include "treekill/guardian/reaper_protocol.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kSubreaper[] = "--containment=subreaper";

// treekill, the outer and the inner process of its reaper, and the leader.
struct Line {
  pid_t treekill = 0;
  pid_t outer = 0;
  pid_t inner = 0;
  pid_t leader = 0;
};

class ReaperTest : public DeathTest {
 protected:
  // Parents are their children's reapers, from the leader upwards.
  Line LineOf(const Program& program) {
    Line line;
    line.treekill = program.pid();
    line.leader = PidIn("leader");
    line.inner = ParentOf(line.leader);
    line.outer = ParentOf(line.inner);
    EXPECT_EQ(ParentOf(line.outer), line.treekill);
    for (pid_t pid : {line.outer, line.inner}) {
      std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
      EXPECT_EQ(stat.has_value() ? stat->comm : "", guardian::kReaperName);
    }
    return line;
  }

  static pid_t ParentOf(pid_t pid) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    return stat.has_value() ? stat->parent : 0;
  }

  // At one instant: those who are stopped can do nothing in between. From
  // above, as each would let the one below it go on.
  static void KillTogether(const Line& line, const std::vector<pid_t>& pids) {
    for (pid_t pid : {line.treekill, line.outer, line.inner}) {
      kill(pid, SIGSTOP);
      EXPECT_TRUE(Eventually([pid] { return StateOf(pid) == 'T'; }));
    }
    // And from below: when treekill dies the kernel lets those go on who were
    // stopped in a process group that is orphaned by that.
    for (pid_t pid : {line.inner, line.outer, line.treekill}) {
      bool is_meant = std::find(pids.begin(), pids.end(), pid) != pids.end();
      if (is_meant) kill(pid, SIGKILL);
    }
    for (pid_t pid : {line.treekill, line.inner, line.outer}) {
      if (IsAlive(pid)) kill(pid, SIGCONT);
    }
  }

  // The outer one and then the inner one, with more time to notice in each
  // round.
  void KillInTurn(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE(round);
      std::filesystem::remove(File("ready"));
      std::filesystem::remove(File("deaf"));
      std::unique_ptr<Program> program = StartScript(kHardToKill, {kSubreaper});
      Line line = LineOf(*program);
      kill(line.outer, SIGKILL);
      EXPECT_TRUE(Eventually([&] { return !IsAlive(line.outer); }));
      absl::SleepFor(round * absl::Milliseconds(2));
      kill(line.inner, SIGKILL);
      EXPECT_EQ(program->Wait().signal(), SIGKILL);
      ASSERT_THAT(FindByCookie(cookie()), IsEmpty());
    }
  }

  void EndForkBombs(int rounds, int lineages) {
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE(round);
      std::filesystem::remove(File("ready"));
      Arguments arguments = ForkBomb(lineages, cookie(), File("ready"));
      arguments.insert(arguments.begin(), {kSubreaper, "-k", "0"});
      std::unique_ptr<Program> program = StartRun(arguments);
      ASSERT_TRUE(Comes("ready"));
      program->Signal(SIGTERM);
      program->Wait();
      ASSERT_THAT(FindByCookie(cookie()), IsEmpty());
    }
  }

  void ExpectGone(const Line& line) {
    EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(60)), IsEmpty());
    for (pid_t pid : {line.outer, line.inner}) {
      EXPECT_TRUE(Eventually([pid] { return !IsAlive(pid); }));
    }
  }
};

TEST_F(ReaperTest, TreekillIsKilled) {
  std::unique_ptr<Program> program = StartScript(kHardToKill, {kSubreaper});
  Line line = LineOf(*program);
  program->Signal(SIGKILL);
  program->Wait();
  ExpectGone(line);
}

TEST_F(ReaperTest, TheInnerOneIsKilled) {
  std::unique_ptr<Program> program =
      StartScript(kHardToKill, {kSubreaper, ReportOption()});
  Line line = LineOf(*program);
  kill(line.inner, SIGKILL);
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_EQ(Report()["drained"], true);
  ExpectGone(line);
}

TEST_F(ReaperTest, TheOuterOneIsKilledAndTheCommandGoesOn) {
  std::unique_ptr<Program> program = StartScript(
      absl::StrCat("echo $$ >leader; setsid sleep 600 &\n", kUntilDone),
      {kSubreaper});
  Line line = LineOf(*program);
  kill(line.outer, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return !IsAlive(line.outer); }));
  EXPECT_TRUE(IsAlive(line.leader));
  WriteAll(File("done"), "");
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 7);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  ExpectGone(line);
}

// treekill adopts what they had adopted.
TEST_F(ReaperTest, BothAreKilledAtOnce) {
  std::unique_ptr<Program> program =
      StartScript(kHardToKill, {kSubreaper, ReportOption()});
  Line line = LineOf(*program);
  KillTogether(line, {line.outer, line.inner});
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_EQ(Report()["drained"], true);
  ExpectGone(line);
}

TEST_F(ReaperTest, TreekillAndOneOfThemAreKilledAtOnce) {
  for (bool inner : {false, true}) {
    SCOPED_TRACE(inner ? "the inner one" : "the outer one");
    std::filesystem::remove(File("ready"));
    std::filesystem::remove(File("deaf"));
    std::unique_ptr<Program> program = StartScript(kHardToKill, {kSubreaper});
    Line line = LineOf(*program);
    KillTogether(line, {line.treekill, inner ? line.inner : line.outer});
    program->Wait();
    ExpectGone(line);
  }
}

// What README says is not covered: the leader alone is killed.
TEST_F(ReaperTest, AllThreeAreKilledAtOnce) {
  std::unique_ptr<Program> program = StartScript(kHardToKill, {kSubreaper});
  Line line = LineOf(*program);
  KillTogether(line, {line.treekill, line.outer, line.inner});
  program->Wait();
  EXPECT_TRUE(Eventually([&] { return !IsAlive(line.leader); }));
  EXPECT_THAT(FindByCookie(cookie()), testing::Not(IsEmpty()));
  KillByCookie(cookie());
}

TEST_F(ReaperTest, TheOuterOneIsKilledAndThenTheInnerOne) { KillInTurn(2); }

// Its parent is not to be had: at once, and when that has come to its rest.
TEST_F(ReaperTest, TheCommandStopsItsParent) {
  for (const char* moment :
       {"", "until grep -q '^State:.S' /proc/$PPID/status; do :; done; "}) {
    SCOPED_TRACE(moment);
    std::filesystem::remove(File("leap"));
    Outcome outcome =
        Start({"env", "TREEKILL_LEAP=" + File("leap"), TreekillWithFaultsPath(),
               "run", kSubreaper, "--timeout=1h", "-k", "1h", "sh", "-c",
               absl::StrCat(moment, "kill -STOP $PPID; setsid sleep 600 & >",
                            File("leap"), "; sleep 600")})
            ->Wait();
    EXPECT_EQ(outcome.exit_code(), 124) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
}

TEST_F(ReaperTest, TreekillIsKilledInTheGrace) {
  std::unique_ptr<Program> program =
      StartScript(kSlowMember, {kSubreaper, "-k", "120s"});
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  program->Signal(SIGKILL);
  program->Wait();
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(60)), IsEmpty());
}

// Then the command alone is killed, as with a cgroup and no guardian.
TEST_F(ReaperTest, WithoutAGuardianTheRestLivesOn) {
  std::unique_ptr<Program> program =
      StartScript(kHardToKill, {kSubreaper, "--guardian=no"});
  Line line = LineOf(*program);
  program->Signal(SIGKILL);
  program->Wait();
  for (pid_t pid : {line.outer, line.inner, line.leader}) {
    EXPECT_TRUE(Eventually([pid] { return !IsAlive(pid); }));
  }
  EXPECT_THAT(FindByCookie(cookie()), testing::Not(IsEmpty()));
  KillByCookie(cookie());
}

TEST_F(ReaperTest, TheReportSaysWhatHolds) {
  Outcome outcome = Run({kSubreaper, ReportOption(), "true"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(Report()["containment"], "subreaper");
  EXPECT_EQ(Report()["on_supervisor_death"], "kill-tree");
  EXPECT_EQ(Report()["leaf"], nullptr);
}

// It is no member of the leader's job, and holds nothing of the command's: who
// reads its output must see the end of it.
TEST_F(ReaperTest, HoldsNoDescriptorOfTheCommands) {
  std::unique_ptr<Program> program = StartScript(
      absl::StrCat("exec 9>held; echo $$ >leader\n", kUntilDone), {kSubreaper});
  Line line = LineOf(*program);
  for (pid_t pid : {line.outer, line.inner}) {
    std::string folder = absl::StrCat("/proc/", pid, "/fd");
    std::vector<std::string> held;
    EXPECT_TRUE(Eventually([&] {
      held.clear();
      for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        std::error_code gone;
        std::string target = std::filesystem::read_symlink(entry, gone);
        if (target != "/dev/null" && !absl::StrContains(target, ":[")) {
          held.push_back(target);
        }
      }
      return held.empty();
    })) << absl::StrJoin(held, " ");
    EXPECT_NE(getpgid(pid), getpgid(line.leader));
  }
  EXPECT_EQ(getsid(line.leader), getsid(line.treekill));
  WriteAll(File("done"), "");
  EXPECT_EQ(program->Wait().exit_code(), 7);
}

TEST_F(ReaperTest, TheCommandFindsWhatItWouldFindWithout) {
  // Descriptors, directory, environment, limits and signals; those of a child,
  // as a shell that has just forked blocks SIGCHLD for a moment.
  constexpr char kShow[] =
      "echo $(readlink /proc/self/fd/7); pwd; echo $LISTEN_PID = $$ | "
      "awk '{ print ($1 == $3) }'; ulimit -n; ls /proc/self/fd; "
      "sed -n 's/^Sig[BI].*://p' /proc/self/status; echo $COLOUR";
  std::string script = absl::StrCat(
      "ulimit -Sn 100; exec 7<'", TreekillPath(), "'; export COLOUR=red\n",
      "trap '' HUP; cd /tmp; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"");
  std::vector<std::string> words = {"bash", "-c",           script,
                                    "bash", TreekillPath(), "run"};
  std::vector<std::string> plain = words;
  for (const char* word : {"--", "bash", "-c", kShow}) plain.push_back(word);
  words.push_back(kSubreaper);
  for (const char* word : {"--", "bash", "-c", kShow}) words.push_back(word);
  Outcome expected = RunProgram(plain, environment());
  Outcome outcome = RunProgram(words, environment());
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(outcome.output, expected.output);
  EXPECT_THAT(outcome.output, HasSubstr("\n1\n"));
}

TEST_F(ReaperTest, WhatCannotBeExecutedIsSaid) {
  Outcome outcome = Run({kSubreaper, "no-such-program"});
  EXPECT_EQ(outcome.exit_code(), 127);
  EXPECT_EQ(outcome.errors,
            "treekill: cannot run no-such-program: execve: No such file or "
            "directory\n");
  outcome = Run({kSubreaper, "/"});
  EXPECT_EQ(outcome.exit_code(), 126);
  outcome = Run({kSubreaper, "-C", "/nowhere", "true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("/nowhere: chdir: "));
}

TEST_F(ReaperTest, AForkBombDies) { EndForkBombs(1, 8); }

using ThoroughReaperTest = ReaperTest;

TEST_F(ThoroughReaperTest, TheOuterOneIsKilledAndThenTheInnerOne) {
  KillInTurn(10);
}

using ThoroughReaperAloneTest = ReaperTest;

TEST_F(ThoroughReaperAloneTest, AForkBombDiesInEveryRound) {
  EndForkBombs(50, 32);
}

// An ordinary user, and a setuid-root program.
class SetuidMemberTest : public ReaperTest {
 protected:
  static constexpr uid_t kNobody = 65534;

  void SetUp() override {
    ReaperTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
    LetOthersIn();
    treekill_ = CopyOf(TreekillWithFaultsPath());
    CopyOf(EscapeePath());
    CopyOf(EscapeePath(), 04755, "helper");
  }

  Outcome RunAsNobody(std::vector<std::string> options,
                      const std::string& limits = "") {
    std::vector<std::string> argv = {"env", "TREEKILL_LIMITS=" + limits,
                                     treekill_, "run", kSubreaper};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), {File("escapee"), "setuid", "--cookie=" + cookie(),
                             "--ready=" + File("ready"), "--then=exit"});
    std::map<std::string, std::string> variables = environment();
    variables["ESCAPEE_SETUID_HELPER"] = File("helper");
    return Program(argv, variables,
                   [] {
                     if (setgid(kNobody) != 0 || setuid(kNobody) != 0) {
                       _exit(98);
                     }
                   })
        .Wait();
  }

  std::string treekill_;
};

TEST_F(SetuidMemberTest, IsReportedAtOnceAsASurvivor) {
  // A wait until it is gone would last for an hour.
  Outcome outcome = RunAsNobody({"-k", "0", ReportOption()}, "drain:1h");
  EXPECT_EQ(outcome.exit_code(), 122) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("survives SIGKILL"));
  auto survivors = Report()["survivors"];
  ASSERT_EQ(survivors.size(), 1U);
  EXPECT_EQ(survivors[0]["uid"], 0);
  EXPECT_EQ(survivors[0]["escapes"][2], "other-uid") << survivors[0];
  // What demo shows of it, too.
  EXPECT_EQ(survivors[0]["reach"]["subreaper"], false);
  EXPECT_EQ(survivors[0]["reach"]["process_group"], false);
  EXPECT_EQ(FindByCookie(cookie()).size(), 1U);
  KillByCookie(cookie());
}

TEST_F(SetuidMemberTest, HasNoMoreRightsWithNoNewPrivs) {
  Outcome outcome = RunAsNobody({"-k", "0", "--no-new-privs"});
  // The helper finds that it has not become root.
  EXPECT_EQ(outcome.exit_code(), 77) << outcome.errors;
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

}  // namespace
}  // namespace treekill::rig
