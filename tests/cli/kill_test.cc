// `treekill kill` of what somebody else has started: a tree, a process group, a
// cgroup.
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uid_t kNobody = 65534;

// In sessions of their own, deaf to TERM, stopped: with the shell, six.
constexpr char kHardToKill[] =
    "setsid sleep 600 & "
    "setsid sh -c 'trap \"\" TERM; sleep 600 & sleep 600 & wait' & "
    "sleep 600 & kill -STOP $!; "
    "echo $$ >ready; wait; sleep 600";
constexpr size_t kHardToKillCount = 6;

class KillTest : public CliTest {
 protected:
  Outcome Kill(Arguments arguments) {
    arguments.insert(arguments.begin(), {TreekillPath(), "kill"});
    return Start(arguments)->Wait();
  }

  static std::string Pid(pid_t pid) { return absl::StrCat("--pid=", pid); }
  static std::string OwnName() { return kernel::ReadProcessStat(0)->comm; }

  // Leads a process group of its own.
  std::unique_ptr<Program> StartHardToKill() {
    return StartScript(kHardToKill, kHardToKillCount);
  }

  std::unique_ptr<Program> StartScript(const std::string& script,
                                       size_t count) {
    std::string folder = directory();
    std::unique_ptr<Program> program =
        Start({"/bin/sh", "-c", absl::StrCat("cd ", folder, "; ", script)});
    EXPECT_TRUE(Eventually([&] {
      std::vector<pid_t> pids = FindByCookie(cookie());
      return !Read("ready").empty() && pids.size() == count &&
             std::all_of(pids.begin(), pids.end(), IsAtRest);
    })) << FindByCookie(cookie()).size();
    return program;
  }

  // One line, with `part` in it, and nothing else.
  static void ExpectOneLine(const Outcome& outcome, int exit_code,
                            const std::string& part) {
    EXPECT_EQ(outcome.exit_code(), exit_code) << outcome.errors;
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors,
                AllOf(StartsWith("treekill: "), HasSubstr(part)));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1)
        << outcome.errors;
  }

  // Makes one below the test's own, with the process in it.
  std::string CgroupWith(pid_t pid) {
    std::string path = absl::StrCat(OwnCgroup(), "/tk-kill-", getpid());
    EXPECT_EQ(mkdir(path.c_str(), 0755), 0);
    WriteAll(path + "/cgroup.procs", absl::StrCat(pid));
    return path;
  }
};

TEST_F(KillTest, ATreeIsEnded) {
  std::unique_ptr<Program> program = StartHardToKill();
  Outcome outcome = Kill({Pid(program->pid()), "-k", "0.2", "-v"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_EQ(outcome.errors,
            absl::StrCat("treekill: nothing of process ", program->pid(),
                         " (sh) is alive; SIGKILL was needed\n"));
}

TEST_F(KillTest, ATreeIsKilledAtOnce) {
  for (Arguments how : {Arguments{"-9"}, {"-s", "KILL"}}) {
    std::unique_ptr<Program> program = StartHardToKill();
    how.insert(how.end(), {"-v", Pid(program->pid())});
    Outcome outcome = Kill(how);
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors,
              absl::StrCat("treekill: nothing of process ", program->pid(),
                           " (sh) is alive; SIGKILL was needed\n"));
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_EQ(program->Wait().signal(), SIGKILL);
    unlink(File("ready").c_str());
  }
}

TEST_F(KillTest, TheFirstSignalReachesThoseWhoAreStopped) {
  std::unique_ptr<Program> program = StartScript(
      "trap 'echo got >usr; exit 3' USR1; sleep 600 & echo $! >ready; "
      "kill -STOP $$; wait",
      2);
  ASSERT_TRUE(Eventually([&] { return StateOf(program->pid()) == 'T'; }));
  Outcome outcome = Kill({Pid(program->pid()), "-s", "USR1", "-k", "60", "-v"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, Not(HasSubstr("SIGKILL")));
  EXPECT_EQ(program->Wait().exit_code(), 3);
  EXPECT_EQ(Read("usr"), "got\n");
}

// It is found by its parent, which waits for it.
TEST_F(KillTest, WhatIsStartedInAnswerToTheSignalIsEnded) {
  std::unique_ptr<Program> program = StartScript(
      "trap 'setsid sh -c \">leap; exec sleep 600\"; sleep 600' TERM; "
      "echo >ready; while :; do sleep 0.05; done",
      2);
  // The grace is over when it has been started.
  Outcome outcome =
      Start({"env", "TREEKILL_LEAP=" + File("leap"), TreekillWithFaultsPath(),
             "kill", Pid(program->pid()), "-k", "1h"})
          ->Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(KillTest, AProcessGroupIsEnded) {
  // All but the setsid ones.
  std::unique_ptr<Program> program = StartHardToKill();
  Outcome outcome = Kill({absl::StrCat("--pgid=", program->pid()), "-v"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, absl::StrCat("treekill: nothing of process group ",
                                         program->pid(), " is alive\n"));
  EXPECT_EQ(program->Wait().signal(), SIGTERM);
  EXPECT_EQ(FindByCookie(cookie()).size(), 4u);
  KillByCookie(cookie());
}

// Its number is still the group's.
TEST_F(KillTest, AProcessGroupWithoutItsLeaderIsEnded) {
  std::unique_ptr<Program> program = StartScript(
      "(trap '' TERM; exec sleep 600) & sleep 600 & echo >ready; exit", 2);
  std::string group = absl::StrCat("--pgid=", program->pid());
  program->Wait();
  Outcome outcome = Kill({group, "-k", "0.1"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(KillTest, ThoseOfACgroupAreEndedByEitherPath) {
  for (bool by_directory : {true, false}) {
    std::unique_ptr<Program> program = Start({"sleep", "600"});
    ASSERT_TRUE(
        Eventually([&] { return SleepsIn(program->pid(), "nanosleep"); }));
    std::string path = CgroupWith(program->pid());
    std::string named = path;
    if (!by_directory) {
      absl::StatusOr<std::string> cgroup =
          kernel::ReadCgroupOfProcess(program->pid());
      ASSERT_TRUE(cgroup.ok()) << cgroup.status();
      named = *cgroup;
    }
    Outcome listed = Kill({"--cgroup=" + named, "--dry-run"});
    EXPECT_EQ(listed.output, absl::StrCat(program->pid(), " (sleep)\n"));
    Outcome outcome = Kill({"--cgroup=" + named, "-v"});
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, absl::StrCat("treekill: nothing of cgroup ", path,
                                           " is alive\n"));
    EXPECT_EQ(program->Wait().signal(), SIGTERM);
    ExpectOneLine(Kill({"--cgroup=" + named}), 1, "has no processes");
    EXPECT_TRUE(Eventually([&] { return rmdir(path.c_str()) == 0; }));
    ExpectOneLine(Kill({"--cgroup=" + named}), 1, "no cgroup " + named);
  }
}

TEST_F(KillTest, ADryRunListsThemAndTouchesNobody) {
  std::unique_ptr<Program> program = StartHardToKill();
  std::vector<pid_t> before = FindByCookie(cookie());
  for (const std::string& target :
       {Pid(program->pid()), absl::StrCat("--pgid=", program->pid())}) {
    Outcome outcome = Kill({target, "--dry-run", "-9"});
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_THAT(outcome.output,
                StartsWith(absl::StrCat(program->pid(), " (sh)\n")));
    std::vector<std::string> lines =
        absl::StrSplit(outcome.output, '\n', absl::SkipEmpty());
    EXPECT_EQ(lines.size(), target[3] == 'i' ? kHardToKillCount : 2u);
    EXPECT_EQ(StateOf(program->pid()), 'S');
    EXPECT_EQ(FindByCookie(cookie()), before);
  }
  Kill({Pid(program->pid()), "-9"});
}

TEST_F(KillTest, WhoHasGoneIsNobody) {
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  ExpectOneLine(Kill({Pid(pid)}), 1, absl::StrCat("no process ", pid));
  ExpectOneLine(Kill({absl::StrCat("--pgid=", pid)}), 1,
                absl::StrCat("no process group ", pid));
  ExpectOneLine(Kill({"--cgroup=/no/such/cgroup"}), 1,
                "no cgroup /no/such/cgroup");
}

TEST_F(KillTest, AZombieIsItsParentsToWaitFor) {
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    _exit(0);
  }
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
  std::string whose = absl::StrCat(" has ended; its parent ", getpid(), " (",
                                   OwnName(), ") has not waited for it\n");
  ExpectOneLine(Kill({Pid(pid)}), 1, whose);
  ExpectOneLine(Kill({absl::StrCat("--pgid=", pid)}), 1, whose);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST_F(KillTest, WhatWouldEndItselfOrEverythingIsRefused) {
  ExpectOneLine(Kill({"--pid=1"}), 125, "process 1");
  ExpectOneLine(Kill({Pid(getpid())}), 125, "an ancestor of it");
  ExpectOneLine(Kill({"--cgroup=/"}), 125, "the root of all cgroups");
  ExpectOneLine(Kill({"--cgroup=" + OwnCgroup()}), 125,
                "holds treekill itself");
  std::string call = absl::StrCat("exec '", TreekillPath(), "' kill ");
  ExpectOneLine(Start({"sh", "-c", call + "--pid=$$"})->Wait(), 125,
                "is treekill itself");
  ExpectOneLine(Start({"sh", "-c", call + "--pgid=$$"})->Wait(), 125,
                "holds treekill itself");
  // Its parent is in another group and cgroup.
  ExpectOneLine(Start({"sh", "-c",
                       absl::StrCat("setsid -w '", TreekillPath(),
                                    "' kill --pgid=$$; exit $?")})
                    ->Wait(),
                125, "(sh), an ancestor of treekill");
  std::string own = OwnCgroup();
  std::string path = CgroupWith(getpid());
  std::string move = absl::StrCat("echo $$ >", own, "/cgroup.procs; ");
  ExpectOneLine(Start({"sh", "-c", move + call + "--cgroup=" + path})->Wait(),
                125,
                absl::StrCat("(", OwnName(), "), an ancestor of treekill"));
  WriteAll(own + "/cgroup.procs", absl::StrCat(getpid()));
  EXPECT_TRUE(Eventually([&] { return rmdir(path.c_str()) == 0; }));
  if (pid_t group = getpgid(1); group > 0) {
    ExpectOneLine(Kill({absl::StrCat("--pgid=", group)}), 125, "process 1");
  }
  ExpectOneLine(Kill({"--cgroup=/etc"}), 125, "is not a cgroup v2 directory");
  ExpectOneLine(Kill({"--cgroup=/etc/passwd"}), 125, "Not a directory");
}

TEST_F(KillTest, KernelThreadsAreRefused) {
  std::optional<kernel::ProcessStat> second = kernel::ReadProcessStat(2);
  if (!second.has_value() || !second->is_kernel_thread) {
    GTEST_SKIP() << "no kernel thread is to be seen in this PID namespace";
  }
  ExpectOneLine(Kill({"--pid=2"}), 125, "(kthreadd) is a thread of the kernel");
}

TEST_F(KillTest, OneTargetIsNamed) {
  ExpectOneLine(Kill({}), 125, "nothing is named");
  ExpectOneLine(Kill({"--cgroup="}), 125, "nothing is named");
  ExpectOneLine(Kill({"--pid=1", "--pid=2"}), 125, "only one");
  ExpectOneLine(Kill({"--pid=1", "--unit=x"}), 125, "only one");
  ExpectOneLine(Kill({"--pid=1", "--user"}), 125, "--unit");
  for (const char* text : {"", "0", "-1", "+1", " 1", "1x", "99999999999"}) {
    ExpectOneLine(Kill({absl::StrCat("--pid=", text)}), 125, "--pid");
    ExpectOneLine(Kill({absl::StrCat("--pgid=", text)}), 125, "--pgid");
  }
  EXPECT_THAT(Kill({"--help"}).output, HasSubstr("--dry-run"));
}

// Without CAP_KILL, on a process of root's.
class KillByUserTest : public KillTest {
 protected:
  void SetUp() override {
    KillTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
    LetOthersIn();
    treekill_ = CopyOf(TreekillPath());
  }

  static void BecomeNobody() {
    if (setgid(kNobody) != 0 || setuid(kNobody) != 0) _exit(98);
  }

  Outcome KillAsNobody(Arguments arguments) {
    arguments.insert(arguments.begin(), {treekill_, "kill"});
    return Start(arguments, BecomeNobody)->Wait();
  }

  std::string treekill_;
};

TEST_F(KillByUserTest, AnothersIsLeftAlone) {
  std::unique_ptr<Program> program = StartScript("echo >ready; sleep 600", 2);
  std::string path = CgroupWith(program->pid());
  for (const std::string& target :
       {Pid(program->pid()), absl::StrCat("--pgid=", program->pid())}) {
    for (const char* how : {"-9", "-v"}) {
      Outcome outcome = KillAsNobody({target, how});
      ExpectOneLine(outcome, 125, "is of uid 0, and uid 65534 may not signal");
      EXPECT_THAT(outcome.errors, HasSubstr("run as root"));
      EXPECT_EQ(StateOf(program->pid()), 'S');
    }
  }
  ExpectOneLine(KillAsNobody({"--cgroup=" + path}), 125, "run as root");
  EXPECT_EQ(FindByCookie(cookie()).size(), 2u);
  Kill({Pid(program->pid())});
  EXPECT_TRUE(Eventually([&] { return rmdir(path.c_str()) == 0; }));
}

// There nobody sees who is above treekill, nor most of the other processes.
TEST_F(KillByUserTest, WhereOthersHide) {
  for (const char* option : {"hidepid=1", "hidepid=2"}) {
    SCOPED_TRACE(option);
    auto hide = [option] {
      if (unshare(CLONE_NEWNS) != 0 ||
          mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
          mount("proc", "/proc", "proc", 0, option) != 0) {
        _exit(97);
      }
      BecomeNobody();
    };
    std::unique_ptr<Program> roots = Start({"sleep", "600"});
    ExpectOneLine(Start({treekill_, "kill", Pid(roots->pid())}, hide)->Wait(),
                  125, "hides from this user");
    EXPECT_THAT(StateOf(roots->pid()), testing::AnyOf('S', 'R'));
    for (const char* target : {"--pid=", "--pgid="}) {
      std::unique_ptr<Program> own = Start({"sleep", "600"}, BecomeNobody);
      ASSERT_TRUE(
          Eventually([&] { return SleepsIn(own->pid(), "nanosleep"); }));
      Outcome outcome =
          Start({treekill_, "kill", absl::StrCat(target, own->pid())}, hide)
              ->Wait();
      EXPECT_EQ(outcome.exit_code(), 0);
      EXPECT_EQ(outcome.errors, "");
      EXPECT_EQ(own->Wait().signal(), SIGTERM);
    }
    roots->Signal(SIGKILL);
  }
}

// A setuid-root program in the tree of an ordinary user.
TEST_F(KillByUserTest, RootsChildIsNamedWhenTheRestIsGone) {
  std::string escapee = CopyOf(EscapeePath());
  std::map<std::string, std::string> variables = environment();
  variables["ESCAPEE_SETUID_HELPER"] = CopyOf(EscapeePath(), 04755, "helper");
  Program program({escapee, "setuid", "--cookie=" + cookie(),
                   "--ready=" + File("ready"), "--then=stay"},
                  variables, BecomeNobody);
  ASSERT_TRUE(Eventually([&] { return !Read("ready").empty(); }));
  size_t count = FindByCookie(cookie()).size();
  Outcome outcome = KillAsNobody({Pid(program.pid()), "-k", "0.2"});
  ExpectOneLine(outcome, 122, "(helper); run as root");
  program.Wait();
  std::vector<pid_t> left = FindByCookie(cookie());
  EXPECT_LT(left.size(), count);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(StateOf(left[0]), 'S');
  EXPECT_THAT(outcome.errors, HasSubstr(absl::StrCat(left[0], " (helper)")));
  KillByCookie(cookie());
}

}  // namespace
}  // namespace treekill::rig
