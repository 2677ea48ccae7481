// kill on units that are not treekill's.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/systemd/unit_fixture.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

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
    ASSERT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
    Run({"systemctl", "reset-failed"});
  }
}

TEST_F(Kill, WhatStopsItHasTheGraceAndNoMore) {
  TempDir folder;
  const std::string done = folder.File("done");
  // It takes its time, so that the signal is over when it has ended.
  StartService(
      Who::kRoot, "victim",
      {absl::StrCat("ExecStopPost=sh -c 'sleep 0.5; echo yes >", done,
                    ".new; mv ", done, ".new ", done, "; exec sleep 1000'")},
      "trap 'trap \"\" TERM; sleep 0.5; exit' TERM; "
      "while :; do sleep 0.02; done",
      2);
  // The grace is over when that is done.
  auto leaping = environment();
  leaping["TREEKILL_LEAP"] = done;
  Outcome outcome = RunProgram(
      {TreekillWithFaultsPath(), "kill", "--unit=victim", "-k", "30m"},
      leaping);
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(ReadAll(done), "yes\n");
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

}  // namespace
}  // namespace treekill::rig
