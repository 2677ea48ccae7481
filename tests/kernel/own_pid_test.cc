// The variables by which systemd names the process that it means.
#include <sched.h>

#include <cstdlib>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/spawn_plan.h"

namespace treekill {
namespace {

using ::testing::HasSubstr;

// Prints what the variables say, $$ for the pid itself.
constexpr char kShow[] =
    "for name in LISTEN_PID WATCHDOG_PID SYSTEMD_EXEC_PID LISTEN_PIDFDID; do "
    "eval \"value=\\${$name-unset}\"; [ \"$value\" != $$ ] || value=own; "
    "echo $name $value; done";

class OwnPidTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    std::string pid = absl::StrCat(getpid());
    setenv("LISTEN_PID", pid.c_str(), 1);
    setenv("WATCHDOG_PID", pid.c_str(), 1);
    setenv("SYSTEMD_EXEC_PID", pid.c_str(), 1);
    setenv("LISTEN_PIDFDID", "17", 1);
  }

  void TearDown() override {
    for (const char* name :
         {"LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID", "LISTEN_PIDFDID"}) {
      unsetenv(name);
    }
    KernelTest::TearDown();
  }

  std::string Show(Command command) {
    command.argv = {"/bin/sh", "-c", kShow};
    absl::StatusOr<RunResult> result = treekill::Run(command);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->output : "";
  }

  static std::vector<std::string> Environment() {
    std::vector<std::string> variables;
    for (char** at = environ; *at != nullptr; ++at) variables.push_back(*at);
    return variables;
  }
};

TEST_F(OwnPidTest, WhatNamesTheCallerNamesTheCommand) {
  EXPECT_EQ(Show({.inherit_fds = true}),
            "LISTEN_PID own\nWATCHDOG_PID own\nSYSTEMD_EXEC_PID own\n"
            "LISTEN_PIDFDID unset\n");
}

TEST_F(OwnPidTest, WhatNamesAnotherIsLeftAlone) {
  setenv("LISTEN_PID", "1", 1);
  setenv("WATCHDOG_PID", absl::StrCat(getpid(), "0").c_str(), 1);
  setenv("SYSTEMD_EXEC_PID", "", 1);
  EXPECT_EQ(Show({.inherit_fds = true}),
            absl::StrCat("LISTEN_PID 1\nWATCHDOG_PID ", getpid(),
                         "0\nSYSTEMD_EXEC_PID\nLISTEN_PIDFDID 17\n"));
}

// Its descriptors are not there, and the watchdog waits for the server.
TEST_F(OwnPidTest, AServersCommandIsNotMeant) {
  std::string pid = absl::StrCat(getpid());
  EXPECT_EQ(Show({}),
            absl::StrCat("LISTEN_PID ", pid, "\nWATCHDOG_PID ", pid,
                         "\nSYSTEMD_EXEC_PID ", pid, "\nLISTEN_PIDFDID 17\n"));
}

TEST_F(OwnPidTest, AGivenEnvironmentIsTheCallersWord) {
  std::string pid = absl::StrCat(getpid());
  std::string shown =
      Show({.environment = std::vector<std::string>{"LISTEN_PID=" + pid},
            .inherit_fds = true});
  EXPECT_THAT(shown, HasSubstr(absl::StrCat("LISTEN_PID ", pid, "\n")));
}

// The child works on the caller's memory until it has execed.
TEST_F(OwnPidTest, TheCallersEnvironmentStaysAsItIs) {
  std::vector<std::string> before = Environment();
  char** where = environ;
  Show({.inherit_fds = true});
  EXPECT_EQ(environ, where);
  EXPECT_EQ(Environment(), before);
}

TEST_F(OwnPidTest, WithACopyOfTheMemoryAsWell) {
  int out[2];
  ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
  kernel::UniqueFd reader(out[0]);
  kernel::UniqueFd writer(out[1]);
  Command command{.argv = {"/bin/sh", "-c", kShow},
                  .stdout_ = Stream::Fd(writer.get()),
                  .inherit_fds = true};
  SpawnPlan plan;
  ASSERT_TRUE(plan.Prepare(command, /*new_process_group=*/true).ok());
  absl::StatusOr<kernel::Child> child =
      kernel::Clone(plan.plan(), /*cgroup_fd=*/-1, kernel::CloneForm::kCopy);
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_TRUE(kernel::ReapChild(child->pidfd.get()).ok());
  char buffer[1000];
  ssize_t count = read(reader.get(), buffer, sizeof(buffer));
  ASSERT_GT(count, 0);
  EXPECT_THAT(std::string(buffer, count),
              ::testing::StartsWith("LISTEN_PID own\nWATCHDOG_PID own\n"));
}

// The command sees the pid that it has there.
TEST_F(OwnPidTest, InAPidNamespaceItIsThePidThere) {
  if (geteuid() != 0) GTEST_SKIP() << "a PID namespace needs root";
  std::string said = InChild([]() -> std::string {
    if (unshare(CLONE_NEWPID) < 0) return strerror(errno);
    std::string pid = absl::StrCat(getpid());
    setenv("LISTEN_PID", pid.c_str(), 1);
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0) return "pipe2";
    Command command{.argv = {"/bin/sh", "-c", "echo $$ $LISTEN_PID"},
                    .stdout_ = Stream::Fd(out[1]),
                    .inherit_fds = true};
    SpawnPlan plan;
    if (!plan.Prepare(command, true).ok()) return "no plan";
    absl::StatusOr<kernel::Child> child = kernel::Clone(plan.plan(), -1);
    if (!child.ok()) return child.status().ToString();
    absl::Status reaped = kernel::ReapChild(child->pidfd.get());
    if (!reaped.ok()) return reaped.ToString();
    char buffer[100];
    ssize_t count = read(out[0], buffer, sizeof(buffer));
    std::string shown(buffer, count < 0 ? 0 : count);
    return shown == "1 1\n" ? "" : shown;
  });
  EXPECT_EQ(said, "");
}

}  // namespace
}  // namespace treekill
