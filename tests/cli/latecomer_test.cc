// Who is being born when the others are sent the first signal.
#include <sys/stat.h>

#include <string>

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
time.sleep(0.7)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
)";

// Has somebody tidy up who takes longer than itself.
constexpr char kHandler[] = R"(
import os, signal, time
def handle(*_):
    time.sleep(before)
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(8)
        open('tidy', 'w')
        os._exit(0)
    time.sleep(after)
    os._exit(0)
signal.signal(signal.SIGTERM, handle)
open('ready', 'w')
while True:
    time.sleep(0.05)
)";

class LatecomerTest : public RunsTest {
 protected:
  std::string Script(const std::string& script) const {
    return absl::StrCat("import os\nos.chdir('", directory(), "')\n", script);
  }

  std::unique_ptr<Program> StartPython(const std::string& script) {
    std::unique_ptr<Program> program =
        StartRun({"-k", "60s", "python3", "-c", Script(script)});
    EXPECT_TRUE(Comes("ready"));
    return program;
  }
};

TEST_F(LatecomerTest, OfAParentThatDiesLateIsSentIt) {
  std::unique_ptr<Program> program = StartPython(kDyingParent);
  program->Signal(SIGTERM);
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.signal(), SIGTERM);
  EXPECT_LT(outcome.duration, absl::Seconds(40));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(LatecomerTest, OfAForeignParentIsSentItAsWell) {
  std::string cgroup = absl::StrCat(OwnCgroup(), "/tk-foreign");
  ASSERT_EQ(mkdir(cgroup.c_str(), 0755), 0);
  std::unique_ptr<Program> parent = Start(
      {"python3", "-c", Script(kDyingParent)},
      [cgroup] { WriteAll(cgroup + "/cgroup.procs", absl::StrCat(getpid())); });
  EXPECT_TRUE(Comes("ready"));
  Outcome outcome = Treekill({"kill", "-k", "60s", "--cgroup", cgroup});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_LT(outcome.duration, absl::Seconds(40));
  EXPECT_EQ(parent->Wait().signal(), SIGTERM);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_EQ(rmdir(cgroup.c_str()), 0);
}

TEST_F(LatecomerTest, WhatAHandlerStartsIsLeftAlone) {
  for (const char* times :
       {"before, after = 0.2, 5", "before, after = 0.8, 0"}) {
    SCOPED_TRACE(times);
    for (const char* file : {"ready", "tidy"}) unlink(File(file).c_str());
    std::unique_ptr<Program> program =
        StartPython(std::string(times) + kHandler);
    program->Signal(SIGTERM);
    EXPECT_EQ(program->Wait().exit_code(), 0);
    EXPECT_EQ(access(File("tidy").c_str(), F_OK), 0);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
}

}  // namespace
}  // namespace treekill::rig
