// treekill typed into an interactive shell in a real terminal.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tests/cli/pty.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {
namespace {

using ::testing::IsEmpty;

// With each way of holding that keeps the command in the terminal's foreground.
class TerminalTest : public CliTest,
                     public testing::WithParamInterface<const char*> {
 protected:
  // What is typed is echoed, so a command's own text goes into a file.
  void Script(const std::string& name, const std::string& text) {
    WriteAll(File(name), text);
  }

  bool Exists(const std::string& name) {
    return access(File(name).c_str(), F_OK) == 0;
  }

  bool Comes(const std::string& name) {
    return Eventually([&] { return Exists(name); });
  }

  // Of those with the cookie that are called so.
  pid_t PidOf(const Shell& shell, const std::string& name) const {
    pid_t found = 0;
    EXPECT_TRUE(Eventually([&] {
      for (pid_t pid : shell.Others(cookie())) {
        std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
        if (stat.has_value() && stat->comm == name) found = pid;
      }
      return found != 0;
    })) << name;
    return found;
  }

  // Waits until it has done what there was to do.
  static bool Rests(pid_t pid, const std::string& where) {
    return Eventually([&] { return SleepsIn(pid, where); });
  }

  static bool IsGuardianOrStopped(pid_t pid) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    return stat.has_value() &&
           (stat->state == 'T' || stat->comm == guardian::kGuardianName);
  }
};

TEST_P(TerminalTest, CommandInTheForegroundReadsALine) {
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -- bash -c 'printf as\"\"k:; read x; echo got:$x'");
  shell.Expect("ask:");
  shell.Line("hello");
  shell.Expect("got:hello");
  EXPECT_EQ(shell.Prompt(), 0);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

// The command waits in read(2), so that its trap runs at once and a second
// signal would not merge with the first.
TEST_P(TerminalTest, CtrlCReachesTheCommandOnce) {
  Script("count.sh",
         "trap 'echo x >>count' INT\n"
         "echo ready\n"
         "until [ \"$x\" = done ]; do read x; done\n"
         "exit 5\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -- bash count.sh");
  shell.Expect("ready");
  pid_t treekill = PidOf(shell, "treekill");
  pid_t command = PidOf(shell, "bash");
  for (size_t presses = 1; presses <= 10; ++presses) {
    EXPECT_TRUE(Rests(command, "tty_read"));
    shell.Type(kCtrlC);
    EXPECT_TRUE(
        Eventually([&] { return Read("count").size() / 2 >= presses; }));
    // Now treekill has passed it on, if ever.
    EXPECT_TRUE(Rests(treekill, "poll"));
  }
  EXPECT_TRUE(Rests(command, "tty_read"));
  shell.Line("done");
  EXPECT_EQ(shell.Prompt(), 5);
  EXPECT_EQ(Read("count").size() / 2, 10U);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

TEST_P(TerminalTest, CtrlCEndsACommandThatDiesOfIt) {
  Script("sleep.sh", "setsid sleep 600 & echo ready; exec sleep 600\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -- bash sleep.sh");
  shell.Expect("ready");
  shell.Type(kCtrlC);
  EXPECT_EQ(shell.Prompt(), 130);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

// It has a process group of its own, to which the terminal sends nothing.
TEST_P(TerminalTest, CtrlCIsPassedOnToAProcessGroup) {
  Script("sleep.sh", "echo ready; exec sleep 600\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run --containment=process-group -- bash sleep.sh");
  shell.Expect("ready");
  shell.Type(kCtrlC);
  EXPECT_EQ(shell.Prompt(), 130);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

TEST_P(TerminalTest, CtrlBackslashEndsACommandThatDiesOfIt) {
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -- sleep 600");
  // Not before it runs: bash ignores SIGQUIT.
  EXPECT_TRUE(Eventually([&] {
    std::vector<pid_t> pids = shell.Others(cookie());
    return std::any_of(pids.begin(), pids.end(), [](pid_t pid) {
      std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
      return stat.has_value() && stat->comm == "sleep";
    });
  }));
  shell.Type(kCtrlBackslash);
  EXPECT_EQ(shell.Prompt(), 131);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

// A shell goes on with a loop unless what it waited for died of the signal.
TEST_P(TerminalTest, CtrlCEndsALoopOfTheShell) {
  Script("sleep.sh", "echo ready; exec sleep 600\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("for i in 1 2 3; do treekill run bash sleep.sh; touch next; done");
  shell.Expect("ready");
  shell.Type(kCtrlC);
  EXPECT_EQ(shell.Prompt(), 130);
  EXPECT_FALSE(Exists("next"));
}

TEST_P(TerminalTest, CtrlZStopsAndFgContinues) {
  Script("echo.sh", "echo ready; while read x; do echo got:$x; done\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -- bash echo.sh");
  shell.Expect("ready");
  for (const char* word : {"one", "two"}) {
    shell.Type(kCtrlZ);
    shell.Expect("Stopped");
    EXPECT_EQ(shell.Prompt(), 148);
    // The guardian has a moment's time to take its name.
    for (pid_t pid : shell.Others(cookie())) {
      EXPECT_TRUE(Eventually([&] { return IsGuardianOrStopped(pid); })) << pid;
    }
    shell.Line("fg");
    shell.Line(word);
    shell.Expect(std::string("got:") + word);
  }
  shell.Type(kCtrlD);
  EXPECT_EQ(shell.Prompt(), 0);
}

TEST_P(TerminalTest, StoppedJobGoesOnInTheBackground) {
  Script("wait.sh",
         "echo ready\n"
         "while [ ! -e done ]; do sleep 0.02; done\n"
         "exit 6\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -- bash wait.sh");
  shell.Expect("ready");
  shell.Type(kCtrlZ);
  EXPECT_EQ(shell.Prompt(), 148);
  EXPECT_EQ(shell.Run("bg"), 0);
  WriteAll(File("done"), "");
  EXPECT_EQ(shell.Run("wait %1"), 6);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
  shell.Line("echo al\"\"ive");
  shell.Expect("alive");
}

TEST_P(TerminalTest, TimersPauseWhileStopped) {
  Script("read.sh",
         "echo ready; read x; echo got:$x; read x; echo got:$x; exit 7\n");
  Set("TREEKILL_LEAP", File("leap"));
  Shell shell(directory(), environment());
  for (bool is_stopped : {true, false}) {
    unlink(File("leap").c_str());
    shell.Line(absl::StrCat("treekill_with_faults run", GetParam(),
                            " --timeout=1h -- bash read.sh"));
    shell.Expect("ready");
    pid_t treekill = PidOf(shell, "treekill_with_f");
    shell.Type(kCtrlZ);
    EXPECT_EQ(shell.Prompt(), 148);
    EXPECT_TRUE(Eventually([&] { return StateOf(treekill) == 'T'; }));
    if (is_stopped) Leap();
    shell.Line("fg");
    shell.Line("one");
    shell.Expect("got:one");
    EXPECT_TRUE(Rests(treekill, "poll"));
    if (is_stopped) {
      shell.Line("two");
      shell.Expect("got:two");
    } else {
      Leap();
    }
    EXPECT_EQ(shell.Prompt(), is_stopped ? 7 : 124);
    EXPECT_THAT(shell.Others(cookie()), IsEmpty());
  }
}

TEST_P(TerminalTest, TimeoutInTheForegroundEndsEveryone) {
  Script("sleep.sh", "setsid sleep 600 & sleep 600 & wait\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  EXPECT_EQ(shell.Run("treekill run --timeout=0.5 -- bash sleep.sh"), 124);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

constexpr char kInner[] =
    "PS1='inn''er> ' treekill run -- bash --norc --noprofile -i";

TEST_P(TerminalTest, InnerShellHasTheTerminalAndGivesItBack) {
  Script("sleep.sh", "echo ready; exec sleep 600\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  for (const auto& [word, status] :
       {std::pair("exit 5", 5), std::pair("kill -9 $$", 137)}) {
    shell.Line(kInner);
    shell.Expect("inner> ");
    shell.Line("bash sleep.sh");
    shell.Expect("ready");
    shell.Type(kCtrlC);
    shell.Expect("inner> ");
    shell.Line("echo al\"\"ive");
    shell.Expect("alive");
    shell.Line(word);
    EXPECT_EQ(shell.Prompt(), status);
    EXPECT_THAT(shell.Others(cookie()), IsEmpty());
    shell.Line("read x; echo got:$x");
    shell.Line("hello");
    shell.Expect("got:hello");
    EXPECT_EQ(shell.Prompt(), 0);
  }
}

// A shell without job control does not take the terminal back by itself.
TEST_P(TerminalTest, ScriptCanReadAfterAnInnerShellWasKilled) {
  Script("outer.sh",
         std::string(kInner) + "\necho inner:$?; read x; echo got:$x\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  for (const auto& [word, end] :
       {std::pair("exit 5", "inner:5"), std::pair("kill -9 $$", "inner:137")}) {
    shell.Line("bash outer.sh");
    shell.Expect("inner> ");
    shell.Line(word);
    shell.Expect(end);
    shell.Line("hello");
    shell.Expect("got:hello");
    EXPECT_EQ(shell.Prompt(), 0);
  }
}

TEST_P(TerminalTest, HangUpEndsTheTree) {
  Script("deaf.sh",
         "trap '' HUP INT TERM\n"
         "setsid sleep 600 &\n"
         "touch ready\n"
         "sleep 600 & wait\n");
  for (const char* line : {"treekill run -k 0.1 bash deaf.sh",
                           "treekill run -k 0.1 bash deaf.sh &",
                           "exec treekill run -k 0.1 bash deaf.sh"}) {
    SCOPED_TRACE(line);
    unlink(File("ready").c_str());
    Shell shell(directory(), environment());
    shell.AddToRun(GetParam());
    shell.Line(line);
    ASSERT_TRUE(Comes("ready"));
    shell.HangUp();
    EXPECT_TRUE(Eventually([&] { return shell.Others(cookie()).empty(); }));
  }
}

TEST_P(TerminalTest, HangUpEndsAStoppedTree) {
  Script("sleep.sh", "setsid sleep 600 & echo ready; sleep 600\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run -k 0.1 bash sleep.sh");
  shell.Expect("ready");
  shell.Type(kCtrlZ);
  EXPECT_EQ(shell.Prompt(), 148);
  shell.HangUp();
  EXPECT_TRUE(Eventually([&] { return shell.Others(cookie()).empty(); }));
}

TEST_P(TerminalTest, CtrlCAtTheShellDoesNotReachTheBackground) {
  Script("count.sh",
         "trap 'echo x >>count' INT\n"
         "trap 'exit 8' TERM\n"
         "touch ready\n"
         "while :; do sleep 0.02; done\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  EXPECT_EQ(shell.Run("treekill run -- bash count.sh &"), 0);
  ASSERT_TRUE(Comes("ready"));
  shell.Type(kCtrlC);
  EXPECT_EQ(shell.Prompt(), 130);
  shell.Line("jobs");
  shell.Expect("Running");
  shell.Prompt();
  EXPECT_FALSE(Exists("count"));
  shell.Run("kill %1");
  EXPECT_EQ(shell.Run("wait $!"), 8);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

TEST_P(TerminalTest, PipelineOfJobsEndsByCtrlC) {
  Script("sleep.sh", "echo ready; exec sleep 600\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  shell.Line("treekill run bash sleep.sh | treekill run cat");
  shell.Expect("ready");
  shell.Type(kCtrlC);
  EXPECT_EQ(shell.Prompt(), 130);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

TEST_P(TerminalTest, TostopDoesNotHangTreekill) {
  Script("quiet.sh", "exit 3\n");
  Set("TREEKILL_LEAP", File("leap"));
  Script("loud.sh", "echo loud; exit 3\n");
  Shell shell(directory(), environment());
  shell.AddToRun(GetParam());
  EXPECT_EQ(shell.Run("stty tostop"), 0);
  shell.Run("treekill run -v -- bash quiet.sh &");
  EXPECT_EQ(shell.Run("wait $!"), 3);
  // The command is stopped at its write, as it would be without treekill.
  shell.Run(absl::StrCat("treekill_with_faults run", GetParam(),
                         " -v --timeout=1h -- bash loud.sh &"));
  pid_t loud = PidOf(shell, "bash");
  EXPECT_TRUE(Eventually([&] { return StateOf(loud) == 'T'; }));
  Leap();
  EXPECT_EQ(shell.Run("wait $!"), 124);
  shell.Run("treekill run -- bash loud.sh &");
  shell.Run("kill $!");
  EXPECT_EQ(shell.Run("wait $!"), 143);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, TerminalTest,
                         testing::Values("", " --containment=subreaper"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           return info.param[0] == '\0' ? "Auto" : "Subreaper";
                         });

}  // namespace
}  // namespace treekill::rig
