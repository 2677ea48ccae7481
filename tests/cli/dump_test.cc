// --dump-on-timeout and --timeout-signal-first.
#include <fcntl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "tests/cli/death_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kDump[] = "--dump-on-timeout";
// Over at the leap.
constexpr char kTimeout[] = "--timeout=1h";

class DumpTest : public DeathTest {
 protected:
  // A slow machine is to see everything, too.
  DumpTest() { Set("TREEKILL_LIMITS", "dump:1m"); }

  static bool Rests(pid_t pid) {
    return IsAtRest(pid) || SleepsIn(pid, "pipe") || SleepsIn(pid, "futex");
  }

  // Waits until the run has so many members, and each has come to where it
  // stays; then its time is over.
  void LeapAtRest(const Program& program, size_t count) {
    EXPECT_TRUE(Eventually([&] {
      std::vector<pid_t> pids = FindByCookie(cookie());
      std::erase_if(pids, [&](pid_t pid) {
        // Its guardian has its environment.
        return pid == program.pid() ||
               ReadAll(absl::StrCat("/proc/", pid, "/comm"))
                   .starts_with("treekill");
      });
      return pids.size() == count &&
             std::all_of(pids.begin(), pids.end(), Rests);
    }));
    Leap();
  }

  void BeginAgain() const {
    for (const char* file : {"leap", "ready", "abrt", "term"}) {
      unlink(File(file).c_str());
    }
  }

  // Runs what has so many members until its time is over.
  Outcome RunToLeap(size_t count, Arguments arguments,
                    std::function<void()> prepare = nullptr) {
    std::unique_ptr<Program> program =
        StartLeaping(std::move(arguments), std::move(prepare));
    LeapAtRest(*program, count);
    Outcome outcome = program->Wait();
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    return outcome;
  }

  std::string ToFile() const { return absl::StrCat(kDump, "=", File("dump")); }
  std::string Dumped() const { return Read("dump"); }

  static bool OtherThreadSleeps(pid_t pid) {
    std::string tasks = absl::StrCat("/proc/", pid, "/task");
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      std::string stack = ReadAll(task.path() / "stack");
      if (absl::StrContains(stack, "nanosleep")) return true;
    }
    return false;
  }

  // The one line of the dump with `part` in it.
  static std::string LineWith(const std::string& dump,
                              const std::string& part) {
    std::vector<std::string> found;
    for (absl::string_view line : absl::StrSplit(dump, '\n')) {
      if (absl::StrContains(line, part)) found.emplace_back(line);
    }
    EXPECT_EQ(found.size(), 1u) << part << " in " << dump;
    return found.empty() ? "" : found[0];
  }
};

// No "sleep 600" in the shell's own arguments.
constexpr char kPipeline[] = "t=600; sleep $t | cat; :";

TEST_F(DumpTest, PipelineOnStandardError) {
  Outcome outcome = RunToLeap(3, {kTimeout, kDump, "bash", "-c", kPipeline});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors,
              StartsWith("treekill: 'bash' timed out after 1h"));
  EXPECT_THAT(outcome.errors,
              HasSubstr("; 3 processes, frozen to be looked at"));
  EXPECT_THAT(LineWith(outcome.errors, "\\_ sleep 600"),
              HasSubstr(" S hrtimer_nanosleep "));
  std::string cat = LineWith(outcome.errors, "\\_ cat");
  EXPECT_THAT(cat, ContainsRegex(" S [a-z_]*pipe[a-z_]* "));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("freezer")));
  EXPECT_THAT(LineWith(outcome.errors, "fd 0 -> "),
              ContainsRegex("pipe:.[0-9]+. \\(read end\\), also open in [0-9]+ "
                            "\\(write end\\)$"));
  if (getuid() != 0) return;
  EXPECT_THAT(outcome.errors, HasSubstr(" in hrtimer_nanosleep+0x"));
}

TEST_F(DumpTest, OneWhoseMainThreadHasEnded) {
  std::unique_ptr<Program> program =
      StartLeaping({kTimeout, kDump, "python3", "-c",
                    "import ctypes, os, threading, time\n"
                    "os.pipe()\n"
                    "threading.Thread(target=time.sleep, args=(600,)).start()\n"
                    "open('" +
                        File("pid") +
                        "', 'w').write(str(os.getpid()) + '\\n')\n"
                        "ctypes.CDLL(None).pthread_exit(None)"});
  pid_t pid = PidIn("pid");
  // A zombie with a thread that lives.
  EXPECT_TRUE(Eventually([&] { return StateOf(pid) == 'Z'; }));
  EXPECT_TRUE(Eventually([&] { return OtherThreadSleeps(pid); }));
  Leap();
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(LineWith(outcome.errors, "python3 -c import"),
              HasSubstr(" S hrtimer_nanosleep "));
  EXPECT_THAT(outcome.errors, HasSubstr(" -> pipe:["));
}

TEST_F(DumpTest, File) {
  Outcome outcome = RunToLeap(3, {kTimeout, ToFile(), "bash", "-c", kPipeline});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(Dumped(), StartsWith("treekill: 'bash' timed out after 1h"));
  EXPECT_EQ(Run({kTimeout, ToFile(), "true"}).exit_code(), 0);
  EXPECT_EQ(Dumped(), "");
}

TEST_F(DumpTest, TheSameDescriptorAsTheReport) {
  std::string path = File("both");
  Outcome outcome = Run({"--timeout=0.2", "--dump-on-timeout=fd:7",
                         "--report=fd:7", "sleep", "600"},
                        [&path] {
                          int fd = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
                          dup2(fd, 7);
                          if (fd != 7) close(fd);
                        });
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(Read("both"), StartsWith("treekill: 'sleep' timed out"));
  EXPECT_THAT(Read("both"), HasSubstr("\n{\"schema_version\":1,"));
}

TEST_F(DumpTest, FileThatCannotBeOpened) {
  for (const char* where : {"/nowhere/dump", "fd:99", "fd:x"}) {
    Outcome outcome =
        Run({kTimeout, absl::StrCat(kDump, "=", where), "touch", File("ran")});
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors, AllOf(StartsWith("treekill: "),
                                      HasSubstr(absl::StrCat("'", where))));
    EXPECT_FALSE(Exists("ran"));
  }
}

TEST_F(DumpTest, FileThatCannotBeWritten) {
  Outcome outcome =
      Run({"--timeout=0.2", "--dump-on-timeout=/dev/full", "sleep", "600"});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_EQ(outcome.errors,
            "treekill: cannot write the dump to '/dev/full': No space left on "
            "device\n");
}

// Nor does that keep the command alive.
TEST_F(DumpTest, NobodyReads) {
  // Room for its beginning does not mean room for all of it.
  const std::string kTwenty = "for i in {1..20}; do sleep 600 & done; wait";
  Outcome outcome = RunToLeap(21, {kTimeout, kDump, "bash", "-c", kTwenty}, [] {
    int fds[2];
    if (pipe(fds) != 0 || fcntl(fds[1], F_SETFL, O_NONBLOCK) != 0) _exit(99);
    char page[4096] = {};
    while (write(fds[1], page, sizeof(page)) > 0) {
    }
    if (read(fds[0], page, sizeof(page)) < 0) _exit(99);
    if (fcntl(fds[1], F_SETFL, 0) != 0) _exit(99);
    dup2(fds[1], STDERR_FILENO);
  });
  EXPECT_EQ(outcome.exit_code(), 124);
}

TEST_F(DumpTest, EscapeSequencesAreNotRaw) {
  Outcome outcome =
      RunToLeap(1, {kTimeout, kDump, "bash", "-c",
                    "exec -a $'na\\e[2Jme\\n\\xc2\\x9b' sleep 600"});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors, HasSubstr(" na\\x1b[2Jme\\x0a\\xc2\\x9b 600\n"));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("\x1b")));
}

TEST_F(DumpTest, StoppedMemberAndDaemon) {
  Outcome outcome = RunToLeap(
      3, {kTimeout, kDump, "bash", "-c",
          "t=600; setsid sleep $t & sleep ${t}0 & kill -STOP $!; wait"});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors, ContainsRegex("\n *[0-9]+ T do_signal_stop "));
  EXPECT_THAT(LineWith(outcome.errors, "] sleep 600"),
              HasSubstr("[new-session] "));
}

// The leader has ended, and the others are waited for.
TEST_F(DumpTest, WhatOutlivedTheCommand) {
  Outcome outcome = RunToLeap(1, {kTimeout, kDump, "--on-leak=wait", "bash",
                                  "-c", "t=600; setsid sleep $t & exit 0"});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(LineWith(outcome.errors, "] sleep 600"),
              HasSubstr(" S hrtimer_nanosleep "));
}

// It is not frozen, but found.
TEST_F(DumpTest, MemberInAnotherCgroup) {
  std::unique_ptr<Program> program = StartLeaping(
      {kTimeout, kDump, EscapeePath(), "migrate", "--cookie=" + cookie(),
       "--ready=" + File("ready"), "--then=stay"});
  ASSERT_TRUE(Comes("ready"));
  Leap();
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors, HasSubstr("migrated"));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("freezer")));
}

TEST_F(DumpTest, InASubreaper) {
  Outcome outcome = RunToLeap(
      3, {kTimeout, kDump, "--containment=subreaper", "bash", "-c", kPipeline});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors,
              HasSubstr("; 3 processes, not frozen: it is in no cgroup"));
  EXPECT_THAT(LineWith(outcome.errors, "\\_ sleep 600"),
              HasSubstr(" S hrtimer_nanosleep "));
}

TEST_F(DumpTest, OrdinaryUser) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  LetOthersIn();
  std::string treekill = CopyOf(TreekillWithFaultsPath());
  Set("TREEKILL_LEAP", File("leap"));
  std::string delegated = absl::StrCat(OwnCgroup(), "/tk-dump-", getpid());
  ASSERT_EQ(mkdir(delegated.c_str(), 0755), 0);
  constexpr uid_t kNobody = 65534;
  for (const char* file : {"", "/cgroup.procs"}) {
    ASSERT_EQ(chown((delegated + file).c_str(), kNobody, kNobody), 0);
  }
  std::string procs = delegated + "/cgroup.procs";
  std::unique_ptr<Program> program = Start(
      {treekill, "run", kTimeout, kDump, "bash", "-c", kPipeline}, [&procs] {
        int fd = open(procs.c_str(), O_WRONLY);
        if (write(fd, "0", 1) != 1 || setgid(kNobody) != 0 ||
            setuid(kNobody) != 0) {
          _exit(98);
        }
        close(fd);
      });
  LeapAtRest(*program, 3);
  Outcome outcome = program->Wait();
  EXPECT_TRUE(Eventually([&] { return rmdir(delegated.c_str()) == 0; }));
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors,
              HasSubstr("; 3 processes, frozen to be looked at; no kernel "
                        "stacks, which only root may read\n"));
  EXPECT_THAT(LineWith(outcome.errors, "\\_ sleep 600"),
              HasSubstr(" S hrtimer_nanosleep "));
  EXPECT_THAT(outcome.errors, HasSubstr("also open in "));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("+0x")));
}

// While it looks at thousands that are frozen.
class KilledInADumpAloneTest : public DumpTest,
                               public testing::WithParamInterface<const char*> {
};

TEST_P(KilledInADumpAloneTest, NothingIsLeft) {
  Set("TREEKILL_FAULTS", GetParam());
  std::unique_ptr<Program> program = StartLeaping(
      {kTimeout, ToFile(), EscapeePath(), "sleepers", "--cookie=" + cookie(),
       "--ready=" + File("ready"), "--then=stay"});
  ASSERT_TRUE(Comes("ready"));
  ASSERT_EQ(LeftLeaves().size(), 1u);
  std::string freeze = LeftLeaves()[0] + "/cgroup.freeze";
  Leap();
  absl::Time end = absl::Now() + absl::Seconds(60);
  while (ReadAll(freeze) != "1\n" && absl::Now() < end) {
  }
  program->Signal(SIGKILL);
  EXPECT_EQ(program->Wait().signal(), SIGKILL);
  // It had not come to its end.
  EXPECT_EQ(Dumped(), "");
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
  EXPECT_TRUE(Eventually([] { return LeftLeaves().empty(); }));
}

INSTANTIATE_TEST_SUITE_P(All, KilledInADumpAloneTest,
                         testing::Values("", "open@cgroup.kill:ENOENT"),
                         [](const auto& info) {
                           return info.index == 0 ? "ByCgroupKill" : "OneByOne";
                         });

TEST_F(DumpTest, FirstSignalToOneThatGoesOn) {
  // By number, in which a shell takes those that have come at a time.
  std::unique_ptr<Program> program = StartLeaping(
      {kTimeout, "--timeout-signal-first=QUIT", "-k", "100ms", "bash", "-c",
       "trap 'echo quit' QUIT; trap 'echo term; exit' TERM\n"
       "ulimit -c 0; >" +
           File("ready") + "; while :; do sleep 0.02; done"});
  ASSERT_TRUE(Comes("ready"));
  Leap();
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_EQ(outcome.output, "quit\nterm\n");
}

// At once: the grace is five minutes.
TEST_F(DumpTest, FirstSignalToOneThatDiesOfIt) {
  Outcome outcome =
      RunToLeap(1, {kTimeout, kDump, "--timeout-signal-first=ABRT", "-k",
                    "5min", "--report=" + File("report"), "sleep", "600"});
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_THAT(outcome.errors, HasSubstr("; 1 process, frozen"));
  EXPECT_EQ(Report()["first_signal"], "ABRT");
  EXPECT_EQ(Report()["leader"]["signal"], "ABRT");
  EXPECT_EQ(Report()["killed"], false);
}

// With as much time for the trap as this machine needs.
TEST_F(DumpTest, FirstSignalBeforeKill) {
  int grace_ms = 50;
  EXPECT_TRUE(Eventually([&] {
    BeginAgain();
    std::unique_ptr<Program> program =
        StartLeaping({kTimeout, "--timeout-signal-first=ABRT", "-s", "KILL",
                      "-k", absl::StrCat(grace_ms *= 2, "ms"), "bash", "-c",
                      "trap 'echo abrt' ABRT; ulimit -c 0\n>" + File("ready") +
                          "; while :; do sleep 0.02; done"});
    EXPECT_TRUE(Comes("ready"));
    Leap();
    Outcome outcome = program->Wait();
    EXPECT_EQ(outcome.exit_code(), 137);
    return outcome.output == "abrt\n";
  }));
}

// Killed after the first signal, treekill leaves the others to its guardian. It
// has as much time as this machine needs for that order.
TEST_F(DumpTest, GuardianGoesOnAfterTheFirstSignal) {
  int time_ms = 200;
  EXPECT_TRUE(Eventually([&] {
    BeginAgain();
    time_ms *= 2;
    std::unique_ptr<Program> program = StartRun(ScriptRun(
        "ulimit -c 0\n"
        "bash -c 'trap \">abrt\" ABRT; trap \">term; exit\" TERM\n"
        "         while :; do sleep 0.02; done' 2>/dev/null &\n"
        "exec sleep 600\n",
        {absl::StrCat("--timeout=", time_ms, "ms"), kDump,
         "--timeout-signal-first=ABRT", "-k", absl::StrCat(time_ms, "ms")}));
    EXPECT_TRUE(Eventually(
        [&] { return Exists("abrt") || StateOf(program->pid()) == 'Z'; }));
    bool in_time = Exists("abrt") && !Exists("term");
    program->Signal(SIGKILL);
    in_time &= program->Wait().signal() == SIGKILL;
    if (in_time) {
      EXPECT_TRUE(Comes("term"));
    }
    ExpectAllGone(/*guardian=*/0);
    return in_time;
  }));
}

TEST_F(DumpTest, WhatIsNoSignal) {
  Outcome outcome = Run({"--timeout-signal-first=NOPE", "true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors,
              HasSubstr("invalid --timeout-signal-first 'NOPE'"));
}

}  // namespace
}  // namespace treekill::rig
