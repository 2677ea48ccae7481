// A run in a transient scope of systemd's.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ScopeForBoth : public ScopeTest,
                     public testing::WithParamInterface<Who> {};

INSTANTIATE_TEST_SUITE_P(Scope, ScopeForBoth,
                         testing::Values(Who::kRoot, Who::kUser),
                         [](const auto& info) {
                           return info.param == Who::kRoot ? "Root" : "User";
                         });

TEST_P(ScopeForBoth, AllAreInOneScopeAndNothingIsLeft) {
  const std::string script = absl::StrCat(
      "(sleep 1000 & ", kUntilItSleeps, "); setsid sleep 1000 & ",
      kUntilItSleeps, "; grep 0:: /proc/self/cgroup; systemd-cgls --no-pager");
  Outcome outcome =
      RunAs(GetParam(), Treekill({"--name=nightly", "--", "sh", "-c", script}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.errors, IsEmpty());
  std::string manager = GetParam() == Who::kRoot
                            ? "0::/system.slice/"
                            : absl::StrCat("0::", kTester.manager(), "/");
  EXPECT_THAT(outcome.output,
              AllOf(HasSubstr(manager), HasSubstr("/treekill-nightly-")));
  std::vector<std::string> shown =
      absl::StrSplit(outcome.output, "treekill-nightly-");
  // Those that have left their parents and session are below it as well.
  EXPECT_THAT(shown.back(),
              AllOf(HasSubstr("sleep 1000"), HasSubstr("systemd-cgls")));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_P(ScopeForBoth, TheScopeIsWhatWasAskedFor) {
  bool user = GetParam() == Who::kUser;
  std::string show = absl::StrCat(
      "systemctl ", user ? "--user " : "",
      "show mine.scope -p Description -p Slice -p ActiveState -p Delegate");
  Outcome outcome = RunAs(
      GetParam(),
      Treekill({"--unit=mine", "--slice=some-thing", "--description=some text",
                "--collect", user ? "--user" : "--system", "sh", "-c", show}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("Description=some text\n"),
                                    HasSubstr("Slice=some-thing.slice\n"),
                                    HasSubstr("ActiveState=active\n"),
                                    HasSubstr("Delegate=yes\n")));
}

TEST_P(ScopeForBoth, PsTellsOfTheMemoryWhereThatIsCounted) {
  const char* script =
      "scope=$(sed -n 's,^0::\\(.*\\)/.*,\\1,p' /proc/self/cgroup)\n"
      "[ ! -e /sys/fs/cgroup$scope/memory.current ] || echo counted >&2\n"
      "exec \"$0\" ps --json remembers";
  Outcome outcome =
      RunAs(GetParam(),
            Treekill({"--name=remembers", "sh", "-c", script, TreekillPath()}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  nlohmann::json runs = nlohmann::json::parse(outcome.output)["runs"];
  ASSERT_EQ(runs.size(), 1u) << runs;
  if (outcome.errors == "counted\n") {
    EXPECT_GT(runs[0]["memory"], 4096) << runs;
  } else {
    EXPECT_EQ(runs[0]["memory"], nullptr) << runs;
  }
}

TEST_P(ScopeForBoth, PropertiesAreAsForSystemdRun) {
  bool user = GetParam() == Who::kUser;
  std::string show =
      absl::StrCat("systemctl ", user ? "--user " : "", "show mine.scope");
  Outcome outcome = RunAs(
      GetParam(),
      Treekill({"--unit=mine", "-p", "MemoryMax=100M", "-p", "TasksMax=50",
                "-p", "CPUQuota=150%", "-p", "AllowedCPUs=0-1", "-p",
                "TimeoutStopSec=7min", "--property=IODeviceWeight=/dev 200",
                "-p", "IPAddressDeny=10.0.0.0/8", "sh", "-c", show}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  for (const char* line :
       {"MemoryMax=104857600", "TasksMax=50", "CPUQuotaPerSecUSec=1.5",
        "AllowedCPUs=0-1", "TimeoutStopUSec=7min", "IODeviceWeight=/dev 200",
        "IPAddressDeny=10.0.0.0/8"}) {
    EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat("\n", line)));
  }
}

TEST_P(ScopeForBoth, AUnitsNameIsFreeAgainAtTheEnd) {
  for (int i = 0; i < 10; ++i) {
    Outcome outcome = RunAs(GetParam(), Treekill({"--unit=again", "true"}));
    ASSERT_EQ(outcome.exit_code(), 0) << outcome.errors;
  }
}

TEST_P(ScopeForBoth, SystemctlStopEndsItWithItsOwnGrace) {
  bool user = GetParam() == Who::kUser;
  std::string script = absl::StrCat(
      "trap 'echo asked; exit 3' TERM; setsid sleep 1000 & systemctl ",
      user ? "--user " : "", "stop --no-block mine.scope; wait; wait");
  Outcome outcome = RunAs(
      GetParam(), Treekill({"-v", "--unit=mine", "--", "sh", "-c", script}));
  EXPECT_EQ(outcome.exit_code(), 3) << outcome.errors;
  EXPECT_EQ(outcome.output, "asked\n");
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("ended by unit-stop"),
                                    HasSubstr("nothing is left")));
}

TEST_P(ScopeForBoth, WhatCannotBeIsSaidInOneLine) {
  struct Case {
    std::vector<std::string> options;
    std::string says;
  };
  for (const Case& bad : std::vector<Case>{
           {{"--unit=a b"}, "treekill: "},
           {{"--unit=x.service"}, "treekill: x.service is no name of a scope"},
           {{"--slice=no/slice"}, "treekill: "},
           {{"-p", "MemoryMax=lots"}, "MemoryMax"},
           {{"-p", "MemroyMax=1G"}, "MemroyMax"},
           {{"-p", "ExecStart=/bin/true"}, "ExecStart"},
           {{"-p", "nonsense"}, "nonsense"},
           {{"--unit="}, "treekill: invalid --unit ''"},
           {{"--unit=x", "--containment=process"}, "are for a scope"}}) {
    std::vector<std::string> argv = bad.options;
    argv.insert(argv.end(), {"--", "echo", "has run"});
    Outcome outcome = RunAs(GetParam(), Treekill(argv));
    EXPECT_EQ(outcome.exit_code(), 125) << bad.options[0];
    EXPECT_THAT(outcome.errors, HasSubstr(bad.says));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1)
        << outcome.errors;
    EXPECT_THAT(outcome.output, IsEmpty());
  }
}

// D-Bus takes UTF-8 only, and messages of a certain size.
TEST_P(ScopeForBoth, AnyCommandLineHasADescription) {
  for (const std::string& odd :
       {std::string("\xff\xfe"), std::string("two\nlines\033[31m"),
        std::string(100 * 1000, 'x')}) {
    Outcome outcome = RunAs(
        GetParam(), Treekill({"--require=scope", "--unit=odd", "true", odd}));
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.errors, IsEmpty());
  }
}

TEST_P(ScopeForBoth, TooManyPropertiesAreRefused) {
  Outcome outcome =
      RunAs(GetParam(), Treekill({"--description", std::string(100 * 1000, 'x'),
                                  "echo", "has run"}));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.output, IsEmpty());
  EXPECT_THAT(outcome.errors, HasSubstr("too long"));
}

TEST_P(ScopeForBoth, ACommandThatIsNotThere) {
  Outcome outcome = RunAs(GetParam(), Treekill({"/no/such/program"}));
  EXPECT_EQ(outcome.exit_code(), 127);
  EXPECT_THAT(outcome.errors, HasSubstr("cannot run /no/such/program"));
}

TEST_P(ScopeForBoth, InADelegatedScopeNobodyIsAsked) {
  Arguments argv = {"systemd-run", "--scope", "-q", "-p", "Delegate=yes"};
  if (GetParam() == Who::kUser) argv.push_back("--user");
  // Where there is nobody to be asked.
  argv.insert(argv.end(), {"env", "DBUS_SESSION_BUS_ADDRESS=unix:path=/none",
                           "TREEKILL_SYSTEMD=/none"});
  Arguments run = Treekill({"-v", "--require=cgroup", "true"});
  argv.insert(argv.end(), run.begin(), run.end());
  Outcome outcome = RunAs(GetParam(), argv);
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("containment cgroup"),
                                    HasSubstr("systemd has delegated")));
}

using AtOnce = ScopeTest;

TEST_F(AtOnce, TwentyScopes) {
  TempDir folder;
  const std::string end = folder.File("end");
  std::vector<std::unique_ptr<Program>> runs;
  for (int i = 0; i < 20; ++i) {
    runs.push_back(std::make_unique<Program>(
        Treekill({"sh", "-c",
                  "setsid sleep 1000 & until [ -e $0 ]; do sleep 0.1; done",
                  end}),
        environment()));
  }
  // Each has one that stays, and one that comes again and again.
  EXPECT_TRUE(Eventually([&] { return Named("sh").size() >= 20; }));
  WriteAll(end, "");
  for (const auto& run : runs) {
    Outcome outcome = run->Wait();
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(outcome.errors, IsEmpty());
  }
}

using Migrated = ScopeTest;

// pam_systemd moves them to a session's scope.
TEST_F(Migrated, WhatSuAndSudoHaveStartedIsFoundAndEnded) {
  const std::string script = absl::StrCat(
      "grep 0:: /proc/self/cgroup; setsid sleep 1000 & ", kUntilItSleeps);
  for (const Arguments& command :
       {Arguments{"su", "-", "tester", "-c", script},
        Arguments{"sudo", "-i", "-u", "tester", "sh", "-c", script}}) {
    Arguments run = {"-v", "--"};
    run.insert(run.end(), command.begin(), command.end());
    Outcome outcome = Run(Treekill(run));
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(outcome.output, HasSubstr("/session-"));
    EXPECT_THAT(outcome.errors, AllOf(HasSubstr("1 had left the cgroup"),
                                      HasSubstr("nothing is left")));
    Outcome left = Run({"ps", "--no-headers", "-o", "args", "-C", "sleep"});
    EXPECT_THAT(left.output, Not(HasSubstr("sleep 1000")));
  }
}

using NoManager = ScopeTest;

// As in a cron job of a user who never logs in.
TEST_F(NoManager, TheNextContainmentIsTakenAndNamed) {
  Outcome outcome = RunWithoutSession(
      kTester2,
      Treekill({"-v", "sh", "-c",
                absl::StrCat("setsid sleep 1000 & ", kUntilItSleeps)}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.errors,
              AllOf(HasSubstr("held by a subreaper, not by a cgroup"),
                    HasSubstr("/run/user/4322/bus")));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(NoManager, OrRefused) {
  Outcome outcome = RunWithoutSession(
      kTester2, Treekill({"--require=cgroup", "echo", "has run"}));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.output, IsEmpty());
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("no cgroup can be had"),
                                    HasSubstr("enable-linger")));
}

TEST_F(NoManager, RootHasItsOwnCgroup) {
  // Of whom the second is there, but does not speak.
  for (const char* program : {"/none", "/bin/false"}) {
    setenv("TREEKILL_SYSTEMD", program, 1);
    for (int i = 0; i < 5; ++i) {
      Outcome outcome = Run(Treekill({"--require=cgroup", "true"}));
      EXPECT_EQ(outcome.exit_code(), 0);
      EXPECT_THAT(outcome.errors,
                  AllOf(HasSubstr("held by a plain cgroup, not by a scope"),
                        HasSubstr(program)));
    }
  }
}

TEST_F(NoManager, AUserMayNotAskTheSystems) {
  Outcome outcome = RunInSession(kTester, Treekill({"--system", "true"}));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("systemd does not start"));
}

TEST_F(NoManager, InATerminalTheCommandCanRead) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  kernel::UniqueFd from(ends[0]), to(ends[1]);
  Program script(WithoutSession(kTester2,
                                {"script", "-qec",
                                 absl::StrJoin(Treekill({"head", "-1"}), " "),
                                 "/dev/null"},
                                environment()),
                 {}, [&] { dup2(from.get(), STDIN_FILENO); });
  EXPECT_TRUE(Eventually([&] {
    std::vector<pid_t> heads = Named("head");
    return heads.size() == 1 && SleepsIn(heads[0], "tty_read");
  }));
  EXPECT_EQ(write(to.get(), "hello\n", 6), 6);
  Outcome outcome = script.Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.output,
              HasSubstr("held by a subreaper, not by a cgroup"));
  EXPECT_THAT(outcome.output, HasSubstr("hello"));
}

// The service's end is the end of all that it has started.
TEST_F(NoManager, AServiceKeepsItsProcesses) {
  Arguments start = {"systemd-run", "-q", "--unit=svc",
                     absl::StrCat("--setenv=", kCookieVariable, "=", cookie())};
  for (const std::string& word :
       Treekill({"sh", "-c", "setsid sleep 1000 & sleep 1000"})) {
    start.push_back(word);
  }
  ASSERT_EQ(Run(start).exit_code(), 0);
  ASSERT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() >= 4; }));
  Run({"systemctl", "kill", "-s", "KILL", "svc.service"});
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
  Run({"systemctl", "reset-failed"});
}

TEST_F(NoManager, AScopeThatIsRequiredIsAskedFor) {
  setenv("TREEKILL_SYSTEMD", "/none", 1);
  EXPECT_EQ(Run(Treekill({"--require=scope", "true"})).exit_code(), 125);
}

}  // namespace
}  // namespace treekill::rig
