// Who is being born when the others are sent the first signal.
#include <sys/stat.h>

#include <string>

#include "absl/time/clock.h"
#include "tests/cli/runs_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::IsEmpty;

// Has a child as soon as it has been sent TERM, and dies of that later: as a
// shell that holds back signals for as long as it forks, on a busy machine.
constexpr char kDyingParent[] = R"(
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open('ready', 'w')
while signal.SIGTERM not in signal.sigpending():
    time.sleep(0.001)
if os.fork() == 0:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    time.sleep(600)
time.sleep(life)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
)";

// Has a child tidy up that lives on for longer than itself.
constexpr char kHandler[] = R"(
import os, signal, time
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)
def handle(*_):
    open('caught', 'w')
    wait_for('fork')
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        open('born', 'w')
        wait_for('tidy')
        open('tidied', 'w')
        os._exit(0)
    wait_for('leave')
    os._exit(0)
signal.signal(signal.SIGTERM, handle)
with open('leader', 'w') as file:
    file.write(f'{os.getpid()}\n')
open('ready', 'w')
while True:
    time.sleep(0.05)
)";

class LatecomerTest : public RunsTest {
 protected:
  std::string Script(const std::string& script) const {
    return absl::StrCat("import os\nos.chdir('", directory(), "')\n", script);
  }

  // So long after the signal a fork counts as one that was under way; after
  // that it is asked every 20 ms which of them have lost their parents.
  static Arguments WithLimit(const std::string& fork) {
    return {"env",
            absl::StrCat("TREEKILL_LIMITS=fork:", fork, " latecomers:20ms"),
            TreekillWithFaultsPath()};
  }

  std::unique_ptr<Program> StartPython(const std::string& script,
                                       const std::string& fork) {
    Arguments argv = WithLimit(fork);
    argv.insert(argv.end(),
                {"run", "-k", "1h", "python3", "-c", Script(script)});
    std::unique_ptr<Program> program = Start(argv);
    EXPECT_TRUE(Comes("ready"));
    return program;
  }

  void EndADyingParent(const std::string& life, const std::string& fork) {
    std::unique_ptr<Program> program =
        StartPython(absl::StrCat("life = ", life, "\n", kDyingParent), fork);
    program->Signal(SIGTERM);
    EXPECT_EQ(program->Wait().signal(), SIGTERM);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
};

TEST_F(LatecomerTest, OfAParentThatDiesIsSentIt) {
  EndADyingParent("0.05", "1h");
}

using ThoroughLatecomerTest = LatecomerTest;

// When no fork can be under way any more.
TEST_F(ThoroughLatecomerTest, OfAParentThatDiesLateIsSentIt) {
  EndADyingParent("4", "3s");
}

TEST_F(LatecomerTest, OfAForeignParentIsSentItAsWell) {
  std::string cgroup = absl::StrCat(OwnCgroup(), "/tk-foreign");
  ASSERT_EQ(mkdir(cgroup.c_str(), 0755), 0);
  std::unique_ptr<Program> parent = Start(
      {"python3", "-c", Script(absl::StrCat("life = 0.05\n", kDyingParent))},
      [cgroup] { WriteAll(cgroup + "/cgroup.procs", absl::StrCat(getpid())); });
  EXPECT_TRUE(Comes("ready"));
  Arguments argv = WithLimit("1h");
  argv.insert(argv.end(), {"kill", "-k", "1h", "--cgroup", cgroup});
  Outcome outcome = Start(argv)->Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(parent->Wait().signal(), SIGTERM);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_EQ(rmdir(cgroup.c_str()), 0);
}

// What is started while forks may be under way, by a parent that lives on for
// longer, and what is started later, by one that is gone at once. A child that
// is sent the signal does not tidy up.
TEST_F(LatecomerTest, WhatAHandlerStartsIsLeftAlone) {
  for (bool early : {true, false}) {
    SCOPED_TRACE(early ? "early" : "late");
    for (const char* file : {"ready", "leader", "caught", "fork", "born",
                             "leave", "tidy", "tidied"}) {
      unlink(File(file).c_str());
    }
    std::unique_ptr<Program> program = StartPython(kHandler, "100ms");
    pid_t leader = PidIn("leader");
    WriteAll(File(early ? "fork" : "leave"), "");
    program->Signal(SIGTERM);
    ASSERT_TRUE(Comes(early ? "born" : "caught"));
    // From now on it is no fork that was under way, and treekill has seen it.
    absl::SleepFor(absl::Milliseconds(100));
    AwaitSleeps(program->pid(), 3);
    WriteAll(File(early ? "leave" : "fork"), "");
    ASSERT_TRUE(Comes("born"));
    EXPECT_TRUE(Eventually([&] { return !IsAlive(leader); }));
    AwaitSleeps(program->pid(), 3);
    WriteAll(File("tidy"), "");
    EXPECT_EQ(program->Wait().exit_code(), 0);
    EXPECT_TRUE(Exists("tidied"));
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
}

}  // namespace
}  // namespace treekill::rig
