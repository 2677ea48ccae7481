// wait, freeze, thaw and exec: by a run's name, and to all of it.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "tests/cli/pty.h"
#include "tests/cli/runs_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class RunControlTest : public RunsTest {
 protected:
  // Counts in a file until `done`.
  static constexpr char kCounting[] =
      "touch ready; n=0; while [ ! -e done ]; do n=$((n+1)); echo $n >count; "
      "sleep 0.01; done; exit 7\n";

  Outcome AsNobody(Arguments arguments) {
    EXPECT_EQ(chmod(directory().c_str(), 0755), 0);
    Arguments argv = {"setpriv", "--reuid=65534", "--regid=65534",
                      "--clear-groups", CopyOf(TreekillPath())};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return Start(argv)->Wait();
  }

  void ExpectRefused(const Outcome& outcome, const std::string& why) {
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_THAT(outcome.errors, HasSubstr(why));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
  }

  // Waits until `treekill wait` has looked for the runs, with the help of a
  // child of its own, and waits for them.
  static bool HasFoundThem(const Program& wait) {
    std::string children =
        absl::StrCat("/proc/", wait.pid(), "/task/", wait.pid(), "/children");
    return Eventually([&] {
      return SleepsIn(wait.pid(), "poll") && ReadAll(children).empty();
    });
  }

  void Finish(Program& program) {
    WriteAll(File("done"), "");
    EXPECT_EQ(program.Wait().exit_code(), 7);
  }
};

// -------------------------------------------------------------------- freezing

TEST_F(RunControlTest, FreezeStopsAndThawContinues) {
  std::unique_ptr<Program> program = StartNamed(Name(), kCounting);
  EXPECT_TRUE(Comes("count"));
  Outcome outcome = Treekill({"freeze", Name()});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.output + outcome.errors, "");
  EXPECT_EQ(RunOf(Name())["state"], "frozen");
  // It would count while treekill runs a second time.
  std::string count = Read("count");
  EXPECT_EQ(Treekill({"freeze", Name()}).exit_code(), 0);
  EXPECT_EQ(Read("count"), count);
  EXPECT_EQ(Treekill({"thaw", Name()}).exit_code(), 0);
  EXPECT_EQ(RunOf(Name())["state"], "running");
  EXPECT_TRUE(Eventually([&] { return Read("count") != count; }));
  EXPECT_EQ(Treekill({"thaw", Name()}).exit_code(), 0);
  Finish(*program);
}

TEST_F(RunControlTest, FreezeSaysWhoIsNotInTheCgroup) {
  std::unique_ptr<Program> program = StartNamed(
      Name(), absl::StrCat("sleep 600 & echo $! >away; echo $! >", OwnCgroup(),
                           "/cgroup.procs; >ready; exec sleep 600\n"));
  Outcome outcome = Treekill({"freeze", Name()});
  EXPECT_EQ(outcome.exit_code(), 1);
  EXPECT_THAT(
      outcome.errors,
      HasSubstr(absl::StrCat("and not frozen: ", PidIn("away"), " (sleep)\n")));
  EXPECT_EQ(RunOf(Name())["state"], "frozen");
  program->Signal(SIGTERM);
  program->Wait();
}

TEST_F(RunControlTest, FrozenRunEndsAtOnce) {
  std::unique_ptr<Program> program =
      StartNamed(Name(), kHardToKill, {"-k", "100ms"});
  EXPECT_EQ(Treekill({"freeze", Name()}).exit_code(), 0);
  program->Signal(SIGTERM);
  EXPECT_EQ(program->Wait().signal(), SIGTERM);
  EXPECT_EQ(Treekill({"thaw", Name()}).exit_code(), 1);
}

TEST_F(RunControlTest, AllOfOneName) {
  std::unique_ptr<Program> one = StartNamed(Name(), kUntilDone);
  unlink(File("ready").c_str());
  std::unique_ptr<Program> two = StartNamed(Name(), kUntilDone);
  EXPECT_EQ(Treekill({"freeze", Name(), "no-such-run"}).exit_code(), 1);
  for (const nlohmann::json& run : Runs({Name()})) {
    EXPECT_EQ(run["state"], "frozen");
  }
  ExpectRefused(Treekill({"exec", Name(), "true"}), "means 2 runs");
  EXPECT_EQ(Treekill({"thaw", Name()}).exit_code(), 0);
  Finish(*one);
  Finish(*two);
}

TEST_F(RunControlTest, WhatNeedsACgroup) {
  std::unique_ptr<Program> program =
      StartNamed(Name(), kUntilDone, {"--containment=subreaper"});
  ExpectRefused(Treekill({"freeze", Name()}), "needs a cgroup");
  ExpectRefused(Treekill({"thaw", Name()}), "needs a cgroup");
  ExpectRefused(Treekill({"exec", Name(), "true"}), "needs a cgroup");
  Finish(*program);
}

TEST_F(RunControlTest, AnotherUsersRunIsLeftAlone) {
  std::unique_ptr<Program> program = StartNamed(Name(), kCounting);
  for (const char* word : {"freeze", "thaw"}) {
    ExpectRefused(AsNobody({word, Name()}), "it is user 0's");
  }
  ExpectRefused(AsNobody({"exec", Name(), "true"}), "it is user 0's");
  EXPECT_EQ(RunOf(Name())["state"], "running");
  EXPECT_EQ(AsNobody({"wait", "--timeout=0.1", Name()}).exit_code(), 124);
  Finish(*program);
}

TEST_F(RunControlTest, NoRunDoesItToItself) {
  for (const char* word : {"freeze", "wait"}) {
    Outcome outcome =
        Run({"--name=" + Name(), "--", TreekillPath(), word, Name()});
    ExpectRefused(outcome, "holds treekill itself");
  }
}

// --------------------------------------------------------------------- waiting

TEST_F(RunControlTest, WaitsUntilNobodyIsAlive) {
  for (const char* containment : {"cgroup", "subreaper"}) {
    SCOPED_TRACE(containment);
    std::string name = Name(containment);
    for (const char* file : {"ready", "done"}) unlink(File(file).c_str());
    std::unique_ptr<Program> program = StartNamed(
        name, kUntilDone, {absl::StrCat("--containment=", containment)});
    EXPECT_EQ(Treekill({"wait", "--timeout=0.2", name}).exit_code(), 124);
    auto wait = Start({TreekillPath(), "wait", name});
    EXPECT_TRUE(HasFoundThem(*wait));
    Finish(*program);
    Outcome outcome = wait->Wait();
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.output + outcome.errors, "");
    EXPECT_EQ(Treekill({"wait", name}).exit_code(), 1);
  }
}

TEST_F(RunControlTest, WaitsForEverWithoutATime) {
  std::unique_ptr<Program> program = StartNamed(Name(), kUntilDone);
  std::vector<std::unique_ptr<Program>> waits;
  for (const char* time : {"--timeout=0", "--timeout=inf"}) {
    waits.push_back(Start({TreekillPath(), "wait", time, Name()}));
    EXPECT_TRUE(HasFoundThem(*waits.back())) << time;
  }
  Finish(*program);
  for (auto& wait : waits) EXPECT_EQ(wait->Wait().exit_code(), 0);
}

TEST_F(RunControlTest, WaitsForSeveral) {
  std::unique_ptr<Program> one = StartNamed(Name("a"), kUntilDone);
  unlink(File("ready").c_str());
  std::unique_ptr<Program> two =
      StartNamed(Name("b"), "touch ready; exec sleep 600");
  auto wait = Start({TreekillPath(), "wait", Name("a"), Name("b")});
  auto other = Start({TreekillPath(), "wait", "no-such-run", Name("a")});
  EXPECT_TRUE(HasFoundThem(*wait));
  EXPECT_TRUE(HasFoundThem(*other));
  Finish(*one);
  EXPECT_EQ(other->Wait().exit_code(), 1);
  EXPECT_EQ(Treekill({"wait", "--timeout=0.1", Name("b")}).exit_code(), 124);
  EXPECT_TRUE(IsAlive(wait->pid()));
  two->Signal(SIGTERM);
  two->Wait();
  EXPECT_EQ(wait->Wait().exit_code(), 0);
}

// ------------------------------------------------------------------- executing

TEST_F(RunControlTest, ExecIsAMemberAndDiesWithTheRun) {
  std::unique_ptr<Program> program =
      StartNamed(Name(), kUntilDone, {"-k", "100ms"});
  auto member = Start({TreekillPath(), "exec", Name(), "--", "sh", "-c",
                       "setsid sleep 600 & >" + File("joined") +
                           "; trap '' TERM; sleep 600; :"});
  EXPECT_TRUE(Comes("joined"));
  EXPECT_THAT(RunOf(Name())["pids"].get<std::vector<pid_t>>(),
              testing::Contains(member->pid()));
  Finish(*program);
  EXPECT_NE(member->Wait().signal(), 0);
  EXPECT_THAT(FindByCookie(cookie()), testing::IsEmpty());
}

TEST_F(RunControlTest, ExecHasTheCommandsStatus) {
  std::unique_ptr<Program> program = StartNamed(Name(), kUntilDone);
  auto run = [&](Arguments command) {
    command.insert(command.begin(), {"exec", Name()});
    return Treekill(command);
  };
  EXPECT_EQ(run({"sh", "-c", "exit 42"}).exit_code(), 42);
  EXPECT_EQ(run({"--", "echo", "--", "-x"}).output, "-- -x\n");
  EXPECT_EQ(run({"sh", "-c", "kill -KILL $$"}).signal(), SIGKILL);
  EXPECT_EQ(run({"no-such-command"}).exit_code(), 127);
  EXPECT_EQ(run({"/etc/passwd"}).exit_code(), 126);
  EXPECT_EQ(run({"/etc"}).exit_code(), 126);
  EXPECT_EQ(run({"/etc/passwd"}).errors,
            "treekill: cannot execute '/etc/passwd': Permission denied\n");
  EXPECT_EQ(Treekill({"exec", "no-such-run", "true"}).exit_code(), 1);
  EXPECT_EQ(Treekill({"freeze", Name()}).exit_code(), 0);
  ExpectRefused(run({"true"}), "is frozen");
  EXPECT_EQ(Treekill({"thaw", Name()}).exit_code(), 0);
  Finish(*program);
}

// ------------------------------------------------------------------- bad input

TEST_F(RunControlTest, BadInput) {
  for (const Arguments& arguments :
       {Arguments{"wait"}, Arguments{"freeze"}, Arguments{"thaw"},
        Arguments{"exec"}, Arguments{"exec", "x"}, Arguments{"exec", "x", "--"},
        Arguments{"wait", "--unit=x", "y"}, Arguments{"wait", "--timeout=-1"},
        Arguments{"freeze", "--now", "x"}, Arguments{"exec", "-q", "x", "y"}}) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    ExpectRefused(Treekill(arguments), "");
  }
  for (const char* word : {"wait", "freeze", "thaw", "exec"}) {
    Arguments unknown = {word, "no-such-run"};
    if (word == std::string("exec")) unknown.push_back("true");
    Outcome outcome = Treekill(unknown);
    EXPECT_EQ(outcome.exit_code(), 1);
    EXPECT_EQ(outcome.errors,
              "treekill: no run is called 'no-such-run'; 'treekill ps' lists "
              "them\n");
    EXPECT_THAT(Treekill({word, "--help"}).output,
                StartsWith(absl::StrCat("Usage: treekill ", word, " ")));
  }
}

}  // namespace
}  // namespace treekill::rig
