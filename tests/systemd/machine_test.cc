// That the machine is what the tests on it take it for.
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "tests/systemd/fixture.h"

namespace treekill::rig {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class MachineTest : public SystemdTest {};

TEST_F(MachineTest, IsBootedWithSystemdOverPureCgroupV2) {
  EXPECT_EQ(ReadAll("/proc/1/comm"), "systemd\n");
  struct statfs cgroup {};
  ASSERT_EQ(statfs("/sys/fs/cgroup", &cgroup), 0);
  EXPECT_EQ(cgroup.f_type, CGROUP2_SUPER_MAGIC);
  EXPECT_EQ(Run({"systemctl", "is-system-running"}).output, "running\n");
}

TEST_F(MachineTest, RunsTheTestInAScopeThatIsNotDelegated) {
  EXPECT_EQ(getuid(), 0u);
  EXPECT_THAT(ReadAll("/proc/self/cgroup"),
              HasSubstr("0::/system.slice/test.scope"));
  EXPECT_EQ(
      Run({"systemctl", "show", "--property=Delegate", "test.scope"}).output,
      "Delegate=no\n");
}

TEST_F(MachineTest, AnswersOnTheSystemBus) {
  Outcome outcome = Run({"busctl", "get-property", "org.freedesktop.systemd1",
                         "/org/freedesktop/systemd1",
                         "org.freedesktop.systemd1.Manager", "Virtualization"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.output, StartsWith("s "));
}

TEST_F(MachineTest, StartsATransientServiceAndTellsItsStatus) {
  Outcome outcome =
      Run({"systemd-run", "--quiet", "--wait", "--collect", "--pipe", "sh",
           "-c", "cat /proc/self/cgroup; exit 7"});
  EXPECT_EQ(outcome.exit_code(), 7) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("0::/system.slice/run-"));
}

TEST_F(MachineTest, GivesASessionWithAManagerAndABus) {
  Outcome outcome = RunInSession(
      kTester,
      {"sh", "-c", "id -u; echo $XDG_RUNTIME_DIR; cat /proc/self/cgroup"});
  EXPECT_THAT(outcome.output,
              StartsWith("4321\n" + kTester.runtime_dir() + "\n"));
  EXPECT_THAT(outcome.output, HasSubstr("0::" + kTester.slice() + "/session-"));
  EXPECT_THAT(outcome.output, EndsWith(".scope\n"));

  outcome = RunInSession(
      kTester, {"busctl", "--user", "get-property", "org.freedesktop.systemd1",
                "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                "ControlGroup"});
  EXPECT_EQ(outcome.output, absl::StrCat("s \"", kTester.manager(), "\"\n"))
      << outcome.errors;

  outcome = RunInSession(kTester, {"systemd-run", "--user", "--scope",
                                   "--quiet", "cat", "/proc/self/cgroup"});
  EXPECT_THAT(outcome.output, HasSubstr("0::" + kTester.manager() + "/"));
}

TEST_F(MachineTest, GivesASessionToALoginByName) {
  Outcome outcome =
      Run({"su", "-", kTester.name, "-c", "echo $XDG_SESSION_ID"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.output, Not("\n"));
}

TEST_F(MachineTest, LetsAUserBecomeRootBySudo) {
  if (access("/usr/bin/sudo", X_OK) != 0) GTEST_SKIP() << "sudo is missing";
  Outcome outcome = RunInSession(kTester, {"/usr/bin/sudo", "-n", "id", "-u"});
  EXPECT_EQ(outcome.output, "0\n") << outcome.errors;
}

TEST_F(MachineTest, GivesNoBusToAUserWithoutSession) {
  Outcome outcome = RunWithoutSession(
      kTester, {"sh", "-c", "id -u; env; cat /proc/self/cgroup"});
  EXPECT_THAT(outcome.output, StartsWith("4321\n"));
  EXPECT_THAT(outcome.output, HasSubstr("0::/system.slice/test.scope"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("XDG_")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("DBUS_")));
  EXPECT_NE(access(kTester.runtime_dir().c_str(), F_OK), 0);
}

TEST_F(MachineTest, LetsEveryUserRunWhatWasBuilt) {
  const std::string program = ForEveryone(TreekillPath());
  Outcome outcome = RunInSession(kTester, {program, "--version"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  outcome = RunWithoutSession(kTester, {program, "--version"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
}

TEST_F(MachineTest, KeepsABusForALingeringUser) {
  ASSERT_EQ(Run({"loginctl", "enable-linger", kTester2.name}).exit_code(), 0);
  EXPECT_TRUE(Eventually([] {
    return access((kTester2.runtime_dir() + "/bus").c_str(), F_OK) == 0;
  }));
}

TEST_F(MachineTest, KeepsAJournal) {
  ASSERT_EQ(Run({"systemd-cat", "--identifier=" + cookie(), "echo", "heard"})
                .exit_code(),
            0);
  EXPECT_TRUE(Eventually([this] {
    Outcome journal =
        Run({"journalctl", "--output=json", "--identifier=" + cookie()});
    return journal.output.find("\"MESSAGE\":\"heard\"") != std::string::npos;
  }));
}

}  // namespace
}  // namespace treekill::rig
