// Signals that treekill is sent, and those that it was started with.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {
namespace {

using ::testing::IsEmpty;

// Without a child to wait for: bash sends itself one INT after the other for
// ever when the first has come just as it began to wait. And in its first read
// it forgets for a moment which signals it was started to ignore.
constexpr char kGetReady[] = "exec 9<>fifo; read -t 0.01 -u 9\n";
constexpr char kForkMany[] = "for i in {1..200}; do sleep 600 & done; wait";
constexpr char kWait[] =
    "while [ ! -e done ]; do read -t 0.02 -u 9; done\n"
    "exit 4\n";

std::string NameOf(pid_t pid) {
  std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
  return stat.has_value() ? stat->comm : "";
}

class SignalsTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    ASSERT_EQ(mkfifo(File("fifo").c_str(), 0600), 0);
  }

  // A bash that writes its pid to `ready` when `traps` have been set, and then
  // does what `rest` says: to wait until it is ended.
  std::unique_ptr<Program> StartBash(const std::string& traps,
                                     Arguments options = {},
                                     std::function<void()> prepare = nullptr,
                                     const std::string& rest = kWait) {
    unlink(File("ready").c_str());
    unlink(File("log").c_str());
    WriteAll(File("script"), absl::StrCat("cd ", directory(), "\n",
                                          rest == kWait ? kGetReady : "", traps,
                                          "\necho $$ >ready\n", rest));
    Arguments argv = {TreekillPath()};
    if (!echo_.empty()) {
      argv = {"env", "TREEKILL_LIMITS=echo:" + echo_, TreekillWithFaultsPath()};
    }
    argv.push_back("run");
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), {"--", "bash", File("script")});
    std::unique_ptr<Program> program = Start(argv, std::move(prepare));
    EXPECT_TRUE(Eventually([this] {
      return Read("ready").ends_with('\n') &&
             absl::SimpleAtoi(Read("ready"), &leader_);
    }));
    return program;
  }

  bool Exists(const std::string& name) {
    return access(File(name).c_str(), F_OK) == 0;
  }
  bool Comes(const std::string& name) {
    return Eventually([&] { return Exists(name); });
  }
  bool LogBecomes(const std::string& text) {
    return Eventually([&] { return Read("log") == text; });
  }

  // Waits for the end, at which nothing may be alive.
  Outcome End(Program& program) {
    Outcome outcome = program.Wait();
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    return outcome;
  }

  pid_t leader_ = 0;
  // For so long a second signal is one word with the first one: a log-out sends
  // TERM and HUP at a time. "": as usual.
  std::string echo_;
};

TEST_F(SignalsTest, TermAndHupEndTheTreeWithThatSignalFirst) {
  for (const auto& [signal, name] :
       {std::pair(SIGTERM, "TERM"), std::pair(SIGHUP, "HUP")}) {
    SCOPED_TRACE(name);
    std::unique_ptr<Program> program = StartBash(
        "setsid sleep 600 &\n"
        "trap 'echo TERM >>log; exit 7' TERM\n"
        "trap 'echo HUP >>log; exit 7' HUP");
    program->Signal(signal);
    EXPECT_EQ(End(*program).exit_code(), 7);
    EXPECT_EQ(Read("log"), absl::StrCat(name, "\n"));
  }
}

TEST_F(SignalsTest, TermThatEndsTheCommandEndsTreekillSo) {
  for (int signal : {SIGTERM, SIGHUP}) {
    std::unique_ptr<Program> program = StartBash("setsid sleep 600 &");
    program->Signal(signal);
    EXPECT_EQ(End(*program).signal(), signal);
  }
}

// With the signal of -s only at a timeout, as for timeout(1).
TEST_F(SignalsTest, TermIsTermWhateverTheTimeoutsSignal) {
  std::unique_ptr<Program> program =
      StartBash("trap 'echo TERM >>log; exit 7' TERM", {"-s", "USR1"});
  program->Signal(SIGTERM);
  EXPECT_EQ(End(*program).exit_code(), 7);
}

TEST_F(SignalsTest, SecondSignalKillsAtOnce) {
  for (int second : {SIGTERM, SIGHUP, SIGINT, SIGQUIT}) {
    SCOPED_TRACE(second);
    echo_ = "0s";
    std::unique_ptr<Program> program = StartBash(
        "trap 'echo x >>log' TERM; trap '' INT QUIT HUP", {"-k", "1h"});
    program->Signal(SIGTERM);
    EXPECT_TRUE(LogBecomes("x\n"));
    program->Signal(second);
    EXPECT_EQ(End(*program).signal(), SIGKILL);
  }
}

TEST_F(SignalsTest, TermAndHangUpAtATimeAreOneWord) {
  echo_ = "1h";
  std::unique_ptr<Program> program =
      StartBash("trap 'echo x >>log' TERM; trap '' HUP", {"-k", "1h"});
  program->Signal(SIGTERM);
  program->Signal(SIGHUP);
  EXPECT_TRUE(LogBecomes("x\n"));
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
}

TEST_F(SignalsTest, OneSignalGivesTheCommandItsGrace) {
  std::unique_ptr<Program> program =
      StartBash("trap 'echo x >>log' TERM", {"-k", "60s"});
  program->Signal(SIGTERM);
  EXPECT_TRUE(LogBecomes("x\n"));
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
}

TEST_F(SignalsTest, OthersArePassedOnOnce) {
  std::unique_ptr<Program> program = StartBash(
      "for s in INT QUIT USR1 USR2 WINCH CONT; do\n"
      "  trap \"echo $s >>log\" $s\n"
      "done");
  std::string log;
  for (const auto& [signal, name] :
       {std::pair(SIGINT, "INT"), std::pair(SIGQUIT, "QUIT"),
        std::pair(SIGUSR1, "USR1"), std::pair(SIGUSR2, "USR2"),
        std::pair(SIGWINCH, "WINCH"), std::pair(SIGCONT, "CONT"),
        std::pair(SIGINT, "INT")}) {
    program->Signal(signal);
    absl::StrAppend(&log, name, "\n");
    EXPECT_TRUE(LogBecomes(log)) << name << " in " << Read("log");
  }
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
  EXPECT_EQ(Read("log"), log);
}

TEST_F(SignalsTest, InterruptThatEndsTheCommandEndsTreekillSo) {
  for (int signal : {SIGINT, SIGQUIT, SIGUSR1, SIGUSR2}) {
    SCOPED_TRACE(signal);
    // Bash itself ignores SIGQUIT.
    std::unique_ptr<Program> program =
        StartBash("setsid sleep 600 &", {}, nullptr, "exec sleep 600");
    EXPECT_TRUE(Eventually([&] { return NameOf(leader_) == "sleep"; }));
    program->Signal(signal);
    EXPECT_EQ(End(*program).signal(), signal);
  }
}

TEST_F(SignalsTest, IgnoredHangUpStaysIgnored) {
  std::unique_ptr<Program> program = StartBash(
      "trap 'echo USR1 >>log' USR1", {}, [] { ::signal(SIGHUP, SIG_IGN); });
  program->Signal(SIGHUP);
  EXPECT_EQ(kill(leader_, SIGHUP), 0);
  program->Signal(SIGUSR1);
  EXPECT_TRUE(LogBecomes("USR1\n"));
  program->Signal(SIGTERM);
  EXPECT_EQ(End(*program).signal(), SIGTERM);
}

// As /proc/PID/status has them: what is ignored and blocked in the command.
constexpr char kMasks[] = "SigBlk:\t%s\nSigIgn:\t%s\n";
constexpr char kNone[] = "0000000000000000";

TEST_F(SignalsTest, CommandStartsAsFromAShell) {
  const Arguments show = {"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"};
  // Python's subprocess, cron and others start programs in such a state.
  Outcome outcome = Run(show, [] {
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
      ::signal(signal, SIG_IGN);
    }
    for (int signal : {SIGHUP, SIGINT, SIGQUIT}) ::signal(signal, SIG_DFL);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
  });
  EXPECT_EQ(outcome.output, absl::StrFormat(kMasks, kNone, kNone));
  for (const auto& [signal, mask] : {std::pair(SIGHUP, "0000000000000001"),
                                     std::pair(SIGINT, "0000000000000002"),
                                     std::pair(SIGQUIT, "0000000000000004")}) {
    outcome = Run(show, [signal = signal] { ::signal(signal, SIG_IGN); });
    EXPECT_EQ(outcome.output, absl::StrFormat(kMasks, kNone, mask));
  }
}

TEST_F(SignalsTest, NohupKeepsItsWord) {
  WriteAll(File("script"), absl::StrCat("cd ", directory(), "\n", kGetReady,
                                        "touch ready\n", kWait));
  std::unique_ptr<Program> program =
      Start({"nohup", TreekillPath(), "run", "bash", File("script")});
  ASSERT_TRUE(Comes("ready"));
  program->Signal(SIGHUP);
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
}

TEST_F(SignalsTest, InheritedStateOfTermDoesNotMatter) {
  std::unique_ptr<Program> program =
      StartBash("trap 'echo TERM >>log; exit 7' TERM", {}, [] {
        ::signal(SIGTERM, SIG_IGN);
        ::signal(SIGCHLD, SIG_IGN);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, nullptr);
      });
  program->Signal(SIGTERM);
  EXPECT_EQ(End(*program).exit_code(), 7);
  EXPECT_EQ(Read("log"), "TERM\n");
}

TEST_F(SignalsTest, StatusIsKnownThoughChildSignalsWereIgnored) {
  for (int status : {0, 3}) {
    std::unique_ptr<Program> program = StartRun(
        {"bash", "-c", absl::StrCat("setsid sleep 600 & exit ", status)},
        [] { ::signal(SIGCHLD, SIG_IGN); });
    EXPECT_EQ(End(*program).exit_code(), status);
  }
}

TEST_F(SignalsTest, IgnoredInterruptStaysIgnored) {
  std::unique_ptr<Program> program =
      StartBash("trap 'echo USR1 >>log' USR1", {}, [] {
        ::signal(SIGINT, SIG_IGN);
        ::signal(SIGQUIT, SIG_IGN);
      });
  program->Signal(SIGINT);
  program->Signal(SIGQUIT);
  program->Signal(SIGUSR1);
  EXPECT_TRUE(LogBecomes("USR1\n"));
  EXPECT_EQ(kill(leader_, 0), 0);
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
}

TEST_F(SignalsTest, NobodyReadsStandardError) {
  auto break_stderr = [] {
    int fds[2];
    if (pipe(fds) != 0) _exit(99);
    dup2(fds[1], STDERR_FILENO);
    close(fds[0]);
    close(fds[1]);
  };
  EXPECT_EQ(Run({"-v", "bash", "-c", "exit 3"}, break_stderr).exit_code(), 3);
  EXPECT_EQ(Run({"-v", "bash", "-c", "kill $$"}, break_stderr).signal(),
            SIGTERM);
}

TEST_F(SignalsTest, NoOtherSignalEndsTreekill) {
  std::unique_ptr<Program> program = StartBash("trap 'echo USR1 >>log' USR1");
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    switch (signal) {
      case SIGHUP:
      case SIGINT:
      case SIGQUIT:
      case SIGTERM:
      case SIGUSR1:
      case SIGUSR2:
      case SIGKILL:
      case SIGSTOP:
      case SIGTSTP:
        continue;
      default:
        if (signal < 32 || signal >= SIGRTMIN) program->Signal(signal);
    }
  }
  program->Signal(SIGUSR1);
  EXPECT_TRUE(LogBecomes("USR1\n"));
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
}

// sigfillset(3) leaves out those that glibc keeps for itself.
TEST_F(SignalsTest, NoSignalOfTheLibraryEndsTreekill) {
  for (int signal = 32; signal < SIGRTMIN; ++signal) {
    SCOPED_TRACE(signal);
    std::unique_ptr<Program> program = StartBash("");
    program->Signal(signal);
    program->Signal(SIGTERM);
    EXPECT_EQ(End(*program).signal(), SIGTERM);
  }
}

TEST_F(SignalsTest, StopAndContinueFromOutside) {
  std::unique_ptr<Program> program = StartBash("trap 'echo USR1 >>log' USR1");
  for (int round = 0; round < 3; ++round) {
    program->Signal(SIGTSTP);
    EXPECT_TRUE(Eventually([&] { return StateOf(program->pid()) == 'T'; }));
    EXPECT_TRUE(Eventually([&] { return StateOf(leader_) == 'T'; }));
    program->Signal(SIGCONT);
    EXPECT_TRUE(Eventually([&] { return StateOf(program->pid()) != 'T'; }));
    EXPECT_TRUE(Eventually([&] { return StateOf(leader_) != 'T'; }));
  }
  program->Signal(SIGUSR1);
  EXPECT_TRUE(LogBecomes("USR1\n"));
  WriteAll(File("done"), "");
  EXPECT_EQ(End(*program).exit_code(), 4);
}

// The kernel stops nobody by SIGTSTP whom no shell could continue. The command
// has no children, because SIGTSTP can reach a fork in flight that the SIGCONT
// after it misses.
TEST_F(SignalsTest, StopWithoutAShellIsNoStop) {
  auto lead_session = [] {
    // Whoever leads a process group cannot.
    setpgid(0, getpgid(getppid()));
    setsid();
  };
  std::unique_ptr<Program> program =
      StartBash("", {}, lead_session, "exec sleep 600");
  EXPECT_TRUE(Eventually([&] { return NameOf(leader_) == "sleep"; }));
  program->Signal(SIGTSTP);
  // It has been read, and treekill waits for the next one.
  EXPECT_TRUE(Eventually([&] {
    return absl::StrContains(
               ReadAll(absl::StrCat("/proc/", program->pid(), "/status")),
               "ShdPnd:\t0000000000000000\n") &&
           SleepsIn(program->pid(), "poll");
  }));
  // Which a stopped command would not die of.
  program->Signal(SIGUSR1);
  EXPECT_EQ(End(*program).signal(), SIGUSR1);
}

TEST_F(SignalsTest, TermEndsAStoppedTree) {
  std::unique_ptr<Program> program =
      StartBash("trap 'echo TERM >>log; exit 7' TERM");
  EXPECT_EQ(kill(leader_, SIGSTOP), 0);
  EXPECT_TRUE(Eventually([&] { return StateOf(leader_) == 'T'; }));
  program->Signal(SIGTERM);
  EXPECT_EQ(End(*program).exit_code(), 7);
  EXPECT_EQ(Read("log"), "TERM\n");
}

// In each round at another moment.
class SignalRoundsTest : public SignalsTest {
 protected:
  void EndAtTheStart(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      std::unique_ptr<Program> program =
          StartRun({"bash", "-c", "setsid sleep 600 & sleep 600"});
      usleep(round * 9000 / rounds);
      program->Signal(SIGTERM);
      EXPECT_EQ(program->Wait().signal(), SIGTERM);
      EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    }
  }

  // The grace is longer than the test may last.
  void EndForksInFlight(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE(round);
      std::unique_ptr<Program> program =
          StartBash("", {"-k", "1h"}, nullptr, kForkMany);
      usleep(round * 4000 / rounds);
      program->Signal(SIGTERM);
      EXPECT_EQ(End(*program).signal(), SIGTERM);
      if (HasFailure()) return;
    }
  }

  // Returns how often the grace was used up.
  int EndForksInFlightOfACatcher(int rounds) {
    int killed = 0;
    for (int round = 0; round < rounds; ++round) {
      std::unique_ptr<Program> program = StartBash(
          "trap 'exit 7' TERM", {"-k", "3s", "--report=" + File("report")},
          nullptr, kForkMany);
      usleep(round * 200);
      program->Signal(SIGTERM);
      EXPECT_EQ(End(*program).exit_code(), 7);
      killed += absl::StrContains(Read("report"), "\"killed\":true") ? 1 : 0;
    }
    return killed;
  }
};

using ThoroughSignalRoundsTest = SignalRoundsTest;

TEST_F(SignalRoundsTest, OfTheMomentOfTheStartIsNotLost) { EndAtTheStart(5); }
TEST_F(ThoroughSignalRoundsTest, OfTheMomentOfTheStartIsNotLost) {
  EndAtTheStart(30);
}

// A child that is being born when its parent is signalled is in no list yet. It
// must not sit out the grace period.
TEST_F(SignalRoundsTest, TermReachesForksInFlight) { EndForksInFlight(4); }
TEST_F(ThoroughSignalRoundsTest, TermReachesForksInFlight) {
  EndForksInFlight(40);
}

// A handler may have started them: only a process that dies at once has not.
using ThoroughSignalRoundsAloneTest = SignalRoundsTest;

TEST_F(ThoroughSignalRoundsAloneTest, TermReachesMostForksInFlightOfACatcher) {
  EXPECT_LT(EndForksInFlightOfACatcher(20), 10);
}

}  // namespace
}  // namespace treekill::rig
