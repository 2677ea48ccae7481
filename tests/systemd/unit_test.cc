// kill, wait and ps on units that somebody else has made.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A daemon that ignores TERM, and a process in a cgroup below the unit's own:
// five of them, with the shells.
constexpr char kEscapees[] =
    "own=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); "
    "mkdir $own/main $own/nested; echo $$ >$own/main/cgroup.procs; "
    "(trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000' &) & "
    "sleep 1000 & echo $! >$own/nested/cgroup.procs; "
    "exec sleep 1000";
constexpr size_t kEscapeeCount = 5;

class UnitTest : public ScopeTest {
 protected:
  void TearDown() override {
    // Who was killed has failed, says systemd.
    if (!IsSkipped()) Run({"systemctl", "reset-failed"});
    ScopeTest::TearDown();
  }

  Outcome As(Who who, const std::string& word, Arguments arguments) const {
    return RunAs(who, Subcommand(word, std::move(arguments)));
  }

  // Starts a service by systemd-run, and waits until it has `count` processes,
  // each of which has come to where it stays.
  void StartService(Who who, const std::string& unit, Arguments properties,
                    const std::string& script, size_t count) const {
    if (who == Who::kUser) KeepManager(kTester);
    Arguments argv = {
        "systemd-run", "--quiet", absl::StrCat("--unit=", unit),
        absl::StrCat("--setenv=", kCookieVariable, "=", cookie())};
    if (who == Who::kUser) argv.push_back("--user");
    for (const std::string& property : properties) {
      argv.push_back(absl::StrCat("--property=", property));
    }
    argv.insert(argv.end(), {"sh", "-c", script});
    ASSERT_EQ(RunAs(who, argv).exit_code(), 0);
    ASSERT_TRUE(Eventually([&] {
      std::vector<pid_t> pids = FindByCookie(cookie());
      return pids.size() == count &&
             std::all_of(pids.begin(), pids.end(), IsAtRest);
    })) << testing::PrintToString(FindByCookie(cookie()));
  }

  std::string StateOf(Who who, const std::string& unit) const {
    Arguments argv = {"systemctl", "is-active", unit};
    if (who == Who::kUser) argv.push_back("--user");
    return RunAs(who, argv).output;
  }
};

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
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
  EXPECT_EQ(As(GetParam(), "kill", {"--unit=victim.scope"}).exit_code(), 125);
}

TEST_P(UnitForBoth, TheFirstSignalAndItsGraceAreGiven) {
  TempDir folder;
  fs::permissions(folder.path(), fs::perms::all);
  StartService(GetParam(), "victim", {},
               absl::StrCat("trap 'sleep 1; echo yes >", folder.path(),
                            "/done; exit' USR1; while :; do sleep 0.1; done"),
               2);
  Outcome outcome =
      As(GetParam(), "kill", {"--unit=victim", "-s", "USR1", "-k", "30", "-v"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, Not(HasSubstr("SIGKILL")));
  EXPECT_EQ(ReadAll(folder.path() + "/done"), "yes\n");
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
  EXPECT_EQ(
      As(Who::kRoot, "wait", {"--unit=victim", "--timeout=0.2"}).exit_code(),
      124);
  Program wait(Subcommand("wait", {"--unit=victim"}), {});
  Run({"systemctl", "stop", "victim"});
  absl::SleepFor(absl::Milliseconds(300));
  // The one that the service has left behind.
  std::vector<pid_t> left = FindByCookie(cookie());
  ASSERT_EQ(left.size(), 1u);
  siginfo_t info{};
  EXPECT_EQ(waitid(P_PID, wait.pid(), &info, WEXITED | WNOHANG | WNOWAIT), 0);
  EXPECT_EQ(info.si_pid, 0) << "it has not waited";
  kill(left[0], SIGKILL);
  EXPECT_EQ(wait.Wait().exit_code(), 0);
}

// Between its commands nobody is alive.
TEST_F(Wait, UntilSystemdHasDoneWithIt) {
  WriteAll("/run/systemd/system/steps.service",
           "[Service]\nType=oneshot\nExecStart=sleep 0.3\n"
           "ExecStart=sleep 0.6\nExecStopPost=sleep 0.6\n");
  WriteAll("/run/systemd/system/short.service",
           "[Service]\nExecStart=sleep 0.02\nExecStopPost=true\n");
  Run({"systemctl", "daemon-reload"});
  Run({"systemctl", "start", "--no-block", "steps"});
  EXPECT_EQ(As(Who::kRoot, "wait", {"--unit=steps"}).exit_code(), 0);
  EXPECT_EQ(StateOf(Who::kRoot, "steps"), "inactive\n");
  for (int i = 0; i < 20; ++i) {
    Run({"systemctl", "start", "--no-block", "short"});
    Outcome outcome = As(Who::kRoot, "wait", {"--unit=short", "--timeout=30"});
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

using Kill = UnitTest;

TEST_F(Kill, SaysThatSystemdStartsItAgain) {
  StartService(Who::kRoot, "victim", {"Restart=always"}, "exec sleep 1000", 1);
  Outcome outcome = As(Who::kRoot, "kill", {"--unit=victim"});
  EXPECT_EQ(outcome.exit_code(), 122);
  EXPECT_THAT(outcome.errors, HasSubstr("systemctl stop victim.service"));
  Run({"systemctl", "stop", "victim"});
}

TEST_F(Kill, EndsASliceWithAllItsUnits) {
  for (const char* unit : {"one", "two"}) {
    Run({"systemd-run", "-q", absl::StrCat("--unit=", unit), "--slice=victims",
         absl::StrCat("--setenv=", kCookieVariable, "=", cookie()), "sh", "-c",
         "setsid sleep 1000 & exec sleep 1000"});
  }
  ASSERT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() == 4; }));
  Outcome outcome = As(Who::kRoot, "kill", {"--unit=victims.slice"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(Kill, GivesStoppedAndFrozenOnesTheirSignal) {
  TempDir folder;
  StartService(Who::kRoot, "victim", {},
               absl::StrCat("trap 'echo yes >", folder.path(),
                            "/done; exit' TERM; kill -STOP $$$$; sleep 1000"),
               1);
  ASSERT_EQ(Run({"systemctl", "freeze", "victim"}).exit_code(), 0);
  Outcome outcome = As(Who::kRoot, "kill", {"--unit=victim", "-k", "30"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(ReadAll(folder.path() + "/done"), "yes\n");
}

TEST_F(Kill, SaysThatItIsStartedAtOnceOrLater) {
  for (const char* time : {"RestartSec=0", "RestartSec=2"}) {
    StartService(Who::kRoot, "victim", {"Restart=always", time},
                 "exec sleep 1000", 1);
    for (int i = 0; i < 2; ++i) {
      // The second time, it may be waiting.
      Outcome outcome = As(Who::kRoot, "kill", {"--unit=victim", "-s", "KILL"});
      EXPECT_EQ(outcome.exit_code(), 122);
      EXPECT_THAT(outcome.errors, HasSubstr("systemctl stop victim.service"))
          << time;
    }
    Run({"systemctl", "stop", "victim"});
    ASSERT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
    Run({"systemctl", "reset-failed"});
  }
}

TEST_F(Kill, WhatStopsItHasTheGraceAndNoMore) {
  TempDir folder;
  // It takes its time, so that the signal is over when it has ended.
  StartService(Who::kRoot, "victim",
               {absl::StrCat("ExecStopPost=sh -c 'sleep 1; echo yes >",
                             folder.path(), "/done; exec sleep 1000'")},
               "trap 'trap \"\" TERM; sleep 1; exit' TERM; "
               "while :; do sleep 0.1; done",
               2);
  Outcome outcome = As(Who::kRoot, "kill", {"--unit=victim", "-k", "5"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(ReadAll(folder.path() + "/done"), "yes\n");
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

// systemd's paths mean something else there.
TEST_F(Kill, IsRefusedInAnotherCgroupNamespace) {
  StartService(Who::kRoot, "victim", {}, "exec sleep 1000", 1);
  constexpr char kScript[] =
      "umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; "
      "mkdir -p /sys/fs/cgroup/system.slice/victim.service; "
      "sleep 30 & echo $! >/sys/fs/cgroup/system.slice/victim.service/"
      "cgroup.procs; \"$@\"; echo $?; kill $! && echo alive";
  for (const char* word : {"kill", "wait", "ps"}) {
    Arguments argv = {"unshare", "-C", "-m", "sh", "-c", kScript, "sh"};
    for (const std::string& argument : Subcommand(word, {"--unit=victim"})) {
      argv.push_back(argument);
    }
    Outcome outcome = Run(argv);
    EXPECT_THAT(outcome.output, HasSubstr("125\nalive\n")) << word;
    EXPECT_THAT(outcome.errors, HasSubstr("another cgroup or PID namespace"));
    for (const char* made : {"/system.slice/victim.service", "/system.slice"}) {
      EXPECT_TRUE(Eventually([&] {
        std::error_code error;
        return fs::remove(OwnCgroup() + made, error);
      }));
    }
  }
  EXPECT_EQ(FindByCookie(cookie()).size(), 1u);
  EXPECT_EQ(As(Who::kRoot, "kill", {"--unit=victim"}).exit_code(), 0);
}

TEST_F(Kill, GoesThroughSystemdWhereTheCgroupIsReadOnly) {
  for (const char* signal : {"TERM", "KILL"}) {
    StartService(Who::kRoot, "victim", {"Delegate=yes"}, kEscapees,
                 kEscapeeCount);
    Arguments argv = {"unshare",
                      "-m",
                      "sh",
                      "-c",
                      "mount -o remount,bind,ro /sys/fs/cgroup && exec \"$@\"",
                      "sh"};
    for (const std::string& word : Subcommand(
             "kill", {"--unit=victim", "-k", "0.2", "-v", "-s", signal})) {
      argv.push_back(word);
    }
    Outcome outcome = Run(argv);
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.errors, HasSubstr("by way of systemd"));
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
}

TEST_F(Kill, WhatIsAnothersIsLeftAlone) {
  StartService(Who::kRoot, "victim", {}, "exec sleep 1000", 1);
  KeepManager(kTester2);
  for (const char* unit :
       {"--unit=victim", "--unit=user@4322.service", "--unit=user.slice"}) {
    Outcome outcome = As(Who::kUser, "kill", {"--system", unit, "-s", "KILL"});
    EXPECT_EQ(outcome.exit_code(), 125) << unit;
    EXPECT_THAT(outcome.errors, AnyOf(HasSubstr("run as root"),
                                      HasSubstr("holds treekill itself")))
        << unit;
  }
  EXPECT_EQ(FindByCookie(cookie()).size(), 1u);
  EXPECT_EQ(StateOf(Who::kRoot, "user@4322.service"), "active\n");
  EXPECT_EQ(As(Who::kUser, "kill", {"--unit=victim"}).exit_code(), 125);
  EXPECT_EQ(As(Who::kRoot, "kill", {"--unit=victim"}).exit_code(), 0);
}

TEST_F(Kill, NeverItsOwnUnitNorAllOfTheMachine) {
  EXPECT_EQ(As(Who::kRoot, "wait", {"--unit=test.scope"}).exit_code(), 125);
  for (const char* unit :
       {"init.scope", "-.slice", "test.scope", "system.slice"}) {
    for (const char* signal : {"TERM", "KILL"}) {
      Outcome outcome =
          As(Who::kRoot, "kill", {absl::StrCat("--unit=", unit), "-s", signal});
      EXPECT_EQ(outcome.exit_code(), 125) << unit;
      // On this machine it has processes of another, which systemd cannot list.
      if (unit == std::string("-.slice")) continue;
      EXPECT_THAT(outcome.errors,
                  AnyOf(HasSubstr("holds the service manager itself"),
                        HasSubstr("holds treekill itself")));
    }
  }
  Arguments argv = {"--unit=mine"};
  for (const std::string& word :
       Subcommand("kill", {"--unit=mine.scope", "-s", "KILL"})) {
    argv.push_back(word);
  }
  Outcome outcome = Run(Treekill(argv));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("mine.scope holds treekill itself"));
}

TEST_F(Kill, WhatCannotBeIsSaidInOneLine) {
  const std::pair<Arguments, const char*> kBad[] = {
      {{"--unit=no-such"}, "there is no unit no-such.service of the system's"},
      {{"--unit=a/b"}, "escaped, as by systemd-escape, it is 'a-b'"},
      {{"--unit=a*"}, "pattern"},
      {{"--unit="}, "nothing is named"},
      {{"--unit=basic.target"}, "has no processes of its own"},
      {{"--unit=x", "y"}, "only one of --pid, --pgid, --cgroup, --unit"},
      {{"--unit=x", "--signal=no"}, "invalid --signal 'no'"},
      {{"--unit=x", "-k", "no"}, "invalid --kill-after 'no'"},
      {{}, "usage: treekill kill NAME"},
  };
  for (const auto& [arguments, why] : kBad) {
    Outcome outcome = As(Who::kRoot, "kill", arguments);
    EXPECT_EQ(outcome.exit_code(), 125) << why;
    EXPECT_THAT(outcome.errors, HasSubstr(why));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'),
              1);
  }
  Outcome outcome =
      RunWithoutSession(kTester2, Subcommand("kill", {"--unit=x"}));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("there is no systemd to ask"));
  setenv("TREEKILL_SYSTEMD", "/none", 1);
  EXPECT_THAT(As(Who::kRoot, "kill", {"--unit=x"}).errors,
              HasSubstr("cannot start /none"));
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
