// --die-with-parent: the process that has started treekill dies, and the tree
// with it.
#include <csignal>
#include <filesystem>
#include <iterator>
#include <string>

#include "tests/cli/death_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Starts what its arguments say in a thread that ends when there is `ready`,
// and lives on. To a thread PR_SET_PDEATHSIG is bound; the parent is the
// process.
constexpr char kPython[] =
    "import os, subprocess, sys, threading, time\n"
    "def start():\n"
    "  global child\n"
    "  child = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL)\n"
    "  while not os.path.exists(sys.argv[2]):\n"
    "    time.sleep(0.01)\n"
    "thread = threading.Thread(target=start)\n"
    "thread.start()\n"
    "thread.join()\n"
    "with open(sys.argv[1], 'w') as file:\n"
    "  file.write(f'{child.pid}\\n')\n"
    "time.sleep(600)\n";

class ParentDeathTest : public DeathTest {
 protected:
  // A program in Python that has started `treekill run` with this script.
  std::unique_ptr<Program> StartPython(const std::string& script,
                                       Arguments options = {}) {
    WriteAll(File("python"), kPython);
    options.insert(options.begin(), "--die-with-parent");
    Arguments run = ScriptRun(script, options);
    const char* python = "/usr/bin/python3";
    Arguments argv = {access(python, X_OK) == 0 ? python : "python3",
                      File("python"),
                      File("child"),
                      File("ready"),
                      TreekillPath(),
                      "run"};
    argv.insert(argv.end(), run.begin(), run.end());
    std::unique_ptr<Program> program = Start(argv);
    treekill_ = PidIn("child");
    EXPECT_TRUE(Comes("ready"));
    guardian_ = GuardianOf(treekill_);
    return program;
  }

  void KillParent(Program& parent) {
    parent.Signal(SIGKILL);
    EXPECT_EQ(parent.Wait().signal(), SIGKILL);
  }

  pid_t treekill_ = 0;
  pid_t guardian_ = 0;
};

TEST_F(ParentDeathTest, EndsTheTreeAndNotWithTheThread) {
  std::unique_ptr<Program> parent = StartPython(kHardToKill, {"-k", "300ms"});
  // Only the thread that lives on is left, and treekill has slept through it.
  EXPECT_TRUE(Eventually([&] {
    namespace fs = std::filesystem;
    fs::directory_iterator threads(
        absl::StrCat("/proc/", parent->pid(), "/task"));
    return std::distance(threads, fs::directory_iterator()) == 1;
  }));
  EXPECT_TRUE(Eventually([&] { return SleepsIn(treekill_, "poll"); }));
  EXPECT_TRUE(IsGuardianAlive(guardian_));
  EXPECT_EQ(LeftLeaves().size(), 1u);
  KillParent(*parent);
  ExpectAllGone(guardian_);
}

TEST_F(ParentDeathTest, CommandThatEndsFirst) {
  std::unique_ptr<Program> parent = StartPython(kUntilDone, {ReportOption()});
  WriteAll(File("done"), "");
  EXPECT_TRUE(Eventually([&] { return !IsAlive(treekill_); }));
  EXPECT_EQ(Report()["reason"], "exit");
  EXPECT_EQ(Report()["exit_status"], 7);
  KillParent(*parent);
  ExpectAllGone(guardian_);
}

TEST_F(ParentDeathTest, TreekillDiesAtTheSameTime) {
  for (bool parent_first : {true, false}) {
    for (const char* name : {"ready", "deaf", "child"}) {
      unlink(File(name).c_str());
    }
    std::unique_ptr<Program> parent = StartPython(kHardToKill);
    if (parent_first) parent->Signal(SIGKILL);
    kill(treekill_, SIGKILL);
    KillParent(*parent);
    ExpectAllGone(guardian_);
  }
}

TEST_F(ParentDeathTest, GivesTheGrace) {
  std::unique_ptr<Program> parent =
      StartPython(kSlowMember, {ReportOption(), "-k", "120s"});
  KillParent(*parent);
  ASSERT_TRUE(Comes("term"));
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  ExpectAllGone(guardian_);
  EXPECT_EQ(Report()["reason"], "parent-death");
  EXPECT_EQ(Report()["first_signal"], "TERM");
  EXPECT_EQ(Report()["killed"], false);
}

TEST_F(ParentDeathTest, TreekillThatIsKilledInTheGrace) {
  std::unique_ptr<Program> parent = StartPython(kSlowMember, {"-k", "120s"});
  KillParent(*parent);
  ASSERT_TRUE(Comes("term"));
  kill(treekill_, SIGKILL);
  AwaitTakenOver(guardian_);
  WriteAll(File("go"), "");
  EXPECT_TRUE(Comes("late"));
  ExpectAllGone(guardian_);
}

TEST_F(ParentDeathTest, ParentIsNamed) {
  // The test itself is the parent here.
  EXPECT_EQ(Run({absl::StrCat("--die-with-parent=", getpid()), "bash", "-c",
                 "exit 7"})
                .exit_code(),
            7);
}

TEST_F(ParentDeathTest, AnotherThanTheParentIsNamed) {
  std::unique_ptr<Program> other = Start({"sleep", "600"});
  for (pid_t pid : {other->pid(), 1, 999999999}) {
    Outcome outcome = StartRun({absl::StrCat("--die-with-parent=", pid), "--",
                                "touch", File("made")})
                          ->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_THAT(outcome.errors, HasSubstr("nothing was started"));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
    EXPECT_FALSE(Exists("made"));
  }
}

TEST_F(ParentDeathTest, BadValues) {
  for (const char* text :
       {"0", "-1", "x", "1x", " 1", "99999999999", "+1", "1 "}) {
    SCOPED_TRACE(text);
    Outcome outcome = Run({absl::StrCat("--die-with-parent=", text), "--",
                           "touch", File("made")});
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors,
                StartsWith("treekill: invalid --die-with-parent "));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
    EXPECT_FALSE(Exists("made"));
  }
}

// Treekill sees no parent there at all. With the /proc of another namespace it
// cannot tell that no process is alive, and takes all the time that there is.
TEST_F(ParentDeathTest, ParentInAnotherPidNamespace) {
  for (const char* option : {"--mount-proc", "--mount"}) {
    SCOPED_TRACE(option);
    for (const char* name : {"ready", "term", "go", "late"}) {
      unlink(File(name).c_str());
    }
    Arguments argv = {"env",  "TREEKILL_LIMITS=drain:200ms", "unshare", "-pf",
                      option, TreekillWithFaultsPath(),      "run"};
    Arguments run = ScriptRun(
        kSlowMember, {"--die-with-parent", "-k", "120s", ReportOption()});
    argv.insert(argv.end(), run.begin(), run.end());
    std::unique_ptr<Program> parent = Start(argv);
    ASSERT_TRUE(Comes("ready")) << parent->Wait(absl::ZeroDuration()).errors;
    EXPECT_FALSE(Exists("term"));
    KillParent(*parent);
    ASSERT_TRUE(Comes("term"));
    WriteAll(File("go"), "");
    ExpectAllGone(0);
    EXPECT_TRUE(Exists("late"));
    EXPECT_EQ(Report()["reason"], "parent-death");
  }
}

}  // namespace
}  // namespace treekill::rig
