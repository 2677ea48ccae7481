// wait and ps, and for both managers kill, on units that are not treekill's.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/systemd/unit_fixture.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class UnitForBoth : public UnitTest, public testing::WithParamInterface<Who> {};
INSTANTIATE_TEST_SUITE_P(Unit, UnitForBoth,
                         testing::Values(Who::kRoot, Who::kUser),
                         [](const testing::TestParamInfo<Who>& info) {
                           return info.param == Who::kRoot ? "Root" : "User";
                         });

TEST_P(UnitForBoth, ADaemonInAServiceIsEnded) {
  StartService(GetParam(), "victim", {"Delegate=yes"}, kEscapees,
               kEscapeeCount);
  Outcome outcome =
      As(GetParam(), "kill", {"--unit=victim", "--kill-after=0.2", "-v"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_THAT(outcome.errors,
              AllOf(HasSubstr("nothing of victim.service is alive"),
                    HasSubstr("SIGKILL was needed"),
                    Not(HasSubstr("by way of systemd"))));
  EXPECT_TRUE(
      Eventually([&] { return StateOf(GetParam(), "victim") != "active\n"; }));
}

TEST_P(UnitForBoth, ADryRunListsThemAndEndsNobody) {
  StartService(GetParam(), "victim", {"Delegate=yes"}, kEscapees,
               kEscapeeCount);
  std::vector<pid_t> before = FindByCookie(cookie());
  Outcome outcome = As(GetParam(), "kill", {"--unit=victim", "--dry-run"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'),
            static_cast<int>(kEscapeeCount));
  EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat(before[0], " (")));
  EXPECT_EQ(FindByCookie(cookie()), before);
  EXPECT_EQ(As(GetParam(), "kill", {"--unit=victim", "-9"}).exit_code(), 0);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_P(UnitForBoth, ADaemonInAScopeIsEnded) {
  Arguments argv = {"systemd-run",   "--quiet", "--scope",
                    "--unit=victim", "-p",      "Delegate=yes"};
  if (GetParam() == Who::kUser) {
    KeepManager(kTester);
    argv.push_back("--user");
  }
  argv.insert(argv.end(), {"sh", "-c", kEscapees});
  if (GetParam() == Who::kUser) argv = InSession(kTester, argv);
  Program run(argv, environment());
  ASSERT_TRUE(Eventually(
      [&] { return FindByCookie(cookie()).size() >= kEscapeeCount; }));
  Outcome outcome =
      As(GetParam(), "kill", {"--unit=victim.scope", "--kill-after=0.2"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
  EXPECT_EQ(As(GetParam(), "kill", {"--unit=victim.scope"}).exit_code(), 125);
}

TEST_P(UnitForBoth, TheFirstSignalAndItsGraceAreGiven) {
  TempDir folder;
  fs::permissions(folder.path(), fs::perms::all);
  StartService(GetParam(), "victim", {},
               absl::StrCat("cd ", folder.path(),
                            "; trap ': >asked; "
                            "until [ -e end ]; do sleep 0.02; done; "
                            "echo yes >done; exit' USR1; "
                            "while :; do sleep 1000; done"),
               2);
  Arguments argv =
      Subcommand("kill", {"--unit=victim", "-s", "USR1", "-k", "1000", "-v"});
  if (GetParam() == Who::kUser) argv = InSession(kTester, argv);
  Program run(argv);
  EXPECT_TRUE(Eventually([&] { return fs::exists(folder.File("asked")); }));
  WriteAll(folder.File("end"), "");
  Outcome outcome = run.Wait();
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, Not(HasSubstr("SIGKILL")));
  EXPECT_EQ(ReadAll(folder.File("done")), "yes\n");
}

TEST_P(UnitForBoth, PsListsThoseOfNestedCgroups) {
  StartService(GetParam(), "victim", {"Delegate=yes"}, kEscapees,
               kEscapeeCount);
  Outcome outcome = As(GetParam(), "ps", {"--unit=victim", "--json"});
  auto json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json["unit"], "victim.service");
  EXPECT_EQ(json["active_state"], "active");
  std::vector<pid_t> listed;
  int nested = 0;
  for (const auto& member : json["members"]) {
    listed.push_back(member["pid"]);
    nested += member["cgroup"] == "/nested";
    if (member["cgroup"] == "/nested") {
      EXPECT_EQ(member["command"], nlohmann::json({"sleep", "1000"}));
    }
  }
  EXPECT_THAT(listed,
              testing::UnorderedElementsAreArray(FindByCookie(cookie())));
  EXPECT_EQ(nested, 1);
  EXPECT_EQ(As(GetParam(), "kill", {"--unit=victim", "-s", "KILL"}).exit_code(),
            0);
}

using Wait = UnitTest;

TEST_F(Wait, UntilTheLastHasGone) {
  StartService(Who::kRoot, "victim", {"KillMode=process"},
               "setsid sleep 1000 & exec sleep 1000", 2);
  auto wait_shortly = [&] {
    return As(Who::kRoot, "wait", {"--unit=victim", "--timeout=0.2"})
        .exit_code();
  };
  EXPECT_EQ(wait_shortly(), 124);
  Program wait(Subcommand("wait", {"--unit=victim"}), {});
  Run({"systemctl", "stop", "victim"});
  // The one that the service has left behind.
  std::vector<pid_t> left = FindByCookie(cookie());
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(wait_shortly(), 124);
  siginfo_t info{};
  EXPECT_EQ(waitid(P_PID, wait.pid(), &info, WEXITED | WNOHANG | WNOWAIT), 0);
  EXPECT_EQ(info.si_pid, 0) << "it has not waited";
  kill(left[0], SIGKILL);
  EXPECT_EQ(wait.Wait().exit_code(), 0);
}

// Between its commands nobody is alive.
TEST_F(Wait, UntilSystemdHasDoneWithIt) {
  TempDir folder;
  WriteAll(
      "/run/systemd/system/steps.service",
      absl::StrCat("[Service]\nType=oneshot\nWorkingDirectory=", folder.path(),
                   "\nExecStart=sh -c 'until [ -e begin ]; do "
                   "sleep 0.02; done'\nExecStart=sleep 0.2\n"
                   "ExecStopPost=sleep 0.2\n"));
  Run({"systemctl", "daemon-reload"});
  Run({"systemctl", "start", "--no-block", "steps"});
  Program wait(Subcommand("wait", {"--unit=steps"}), environment());
  // It waits for processes, and has done with its helper for now.
  EXPECT_TRUE(Eventually([&] {
    return FindByCookie(cookie()).size() == 1 && SleepsIn(wait.pid(), "poll");
  }));
  WriteAll(folder.File("begin"), "");
  EXPECT_EQ(wait.Wait().exit_code(), 0);
  EXPECT_EQ(StateOf(Who::kRoot, "steps"), "inactive\n");
}

// The parameter is the number of rounds.
class UnitRounds : public UnitTest, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Few, UnitRounds, testing::Values(5));
INSTANTIATE_TEST_SUITE_P(Thorough, UnitRounds, testing::Values(50));

TEST_P(UnitRounds, WaitForOneThatIsOverSoon) {
  WriteAll("/run/systemd/system/short.service",
           "[Service]\nExecStart=sleep 0.02\nExecStopPost=true\n");
  Run({"systemctl", "daemon-reload"});
  for (int i = 0; i < GetParam(); ++i) {
    Run({"systemctl", "start", "--no-block", "short"});
    Outcome outcome = As(Who::kRoot, "wait", {"--unit=short", "--timeout=60"});
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  }
}

TEST_F(Wait, NotForWhatHasNoProcesses) {
  Run({"systemd-run", "-q", "--unit=done", "-p", "Type=oneshot", "-p",
       "RemainAfterExit=yes", "true"});
  EXPECT_EQ(As(Who::kRoot, "wait", {"--unit=done"}).exit_code(), 0);
  EXPECT_EQ(As(Who::kRoot, "kill", {"--unit=done"}).exit_code(), 0);
  EXPECT_EQ(As(Who::kRoot, "wait", {"--unit=no-such"}).exit_code(), 125);
}

using Ps = UnitTest;

TEST_F(Ps, DoesNothingToATerminal) {
  StartService(Who::kRoot, "victim", {},
               "exec sh -c 'sleep 1000; :' \"$(printf '\\033[31m\\nforged')\"",
               2);
  Outcome outcome = As(Who::kRoot, "ps", {"--unit=victim"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("PID"), HasSubstr("sleep 1000"),
                                    Not(HasSubstr("\033"))));
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 3);
  auto json = nlohmann::json::parse(
      As(Who::kRoot, "ps", {"--unit=victim", "--json"}).output);
  EXPECT_EQ(json["members"][0]["command"][3], "\033[31m\nforged");
  EXPECT_EQ(As(Who::kRoot, "kill", {"--unit=victim"}).exit_code(), 0);
}

}  // namespace
}  // namespace treekill::rig
