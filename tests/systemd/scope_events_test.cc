// A run in a transient scope of systemd's, to which something happens.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The parameter is the number of rounds.
class ScopeRounds : public ScopeTest,
                    public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Few, ScopeRounds, testing::Values(10));
INSTANTIATE_TEST_SUITE_P(Thorough, ScopeRounds, testing::Values(200));

TEST_P(ScopeRounds, OneScopeAfterAnother) {
  Arguments argv =
      Treekill({"sh", "-c", "grep -q /treekill-.*scope /proc/self/cgroup"});
  for (int i = 0; i < GetParam(); ++i) {
    Outcome outcome = Run(argv);
    ASSERT_EQ(outcome.exit_code(), 0) << i << ": " << outcome.errors;
    ASSERT_THAT(outcome.errors, IsEmpty());
  }
}

// Of a scope that is being started nothing is left, not even its name.
TEST_P(ScopeRounds, TreekillIsEndedAtItsStart) {
  for (int i = 0; i < GetParam(); ++i) {
    Program run(Treekill({"--unit=mine", "sleep", "1000"}), environment());
    // Some moment of the first 6 ms.
    absl::SleepFor(absl::Milliseconds(6) * i / GetParam());
    run.Signal(SIGTERM);
    Outcome outcome = run.Wait();
    ASSERT_EQ(outcome.signal(), SIGTERM) << outcome.errors;
    ASSERT_THAT(outcome.errors, Not(HasSubstr("systemd does not start")));
  }
  EXPECT_TRUE(Eventually([&] {
    return Systemctl({"list-units", "--all", "--no-legend", "mine.scope"})
        .empty();
  })) << Systemctl({"status", "mine.scope"});
}

TEST_P(ScopeRounds, TreekillIsKilledAtItsStart) {
  for (int i = 0; i < GetParam(); ++i) {
    Program run(Treekill({"-k1", "sh", "-c", "setsid sleep 1000 & sleep 1000"}),
                environment());
    // Some moment of the first 40 ms.
    absl::SleepFor(absl::Milliseconds(40) * i / GetParam());
    run.Signal(SIGKILL);
  }
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
  EXPECT_TRUE(Eventually([] { return Cgroups().empty(); }));
}

using InTheMiddle = ScopeTest;

TEST_F(InTheMiddle, TheManagerIsReloadedAndReexecuted) {
  const char* script =
      "setsid sleep 1000 & systemctl daemon-reload && systemctl daemon-reexec "
      "&& until systemctl is-active test.scope; do :; done";
  Outcome outcome = Run(Treekill({"-v", "--", "sh", "-c", script}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("nothing is left"));
}

// A machine is not what it was without its bus.
using TheBusDies = ScopeTest;

TEST_F(TheBusDies, InTheMiddle) {
  TempDir folder;
  Program run(Treekill({"-v", "--", "sh", "-c",
                        "setsid sleep 1000 & echo >$0/up; "
                        "until [ -e $0/end ]; do sleep 0.02; done",
                        folder.path()}),
              environment());
  ASSERT_TRUE(Eventually([&] { return fs::exists(folder.File("up")); }));
  std::vector<pid_t> helpers = Named("treekill-system");
  ASSERT_EQ(helpers.size(), 1u);
  auto count_fds = [&] {
    std::error_code error;
    fs::directory_iterator fds(absl::StrCat("/proc/", helpers[0], "/fd"),
                               error);
    return std::distance(fds, fs::directory_iterator());
  };
  const auto before = count_fds();
  Run({"systemctl", "kill", "--kill-who=main", "-s", "KILL", "dbus.service"});
  EXPECT_TRUE(Eventually([&] { return count_fds() < before; }))
      << "its helper has not seen the end of the bus";
  WriteAll(folder.File("end"), "");
  Outcome outcome = run.Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("nothing is left"));
  Run({"systemctl", "reset-failed"});
}

// A bus where no process answers.
class SilentBus final {
 public:
  std::string address() const { return "unix:path=" + path_; }

 private:
  const TempDir folder_;
  const std::string path_ = folder_.path() + "/bus";
  const kernel::UniqueFd socket_ = Listen(path_);
};

TEST_F(InTheMiddle, ASystemdThatDoesNotAnswerIsDoneWithout) {
  SilentBus bus;
  auto hanging = environment();
  hanging["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address();
  hanging["TREEKILL_LIMITS"] = "systemd:300ms";
  Outcome outcome =
      RunProgram({TreekillWithFaultsPath(), "run", "echo", "has run"}, hanging);
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.output, "has run\n");
  EXPECT_THAT(outcome.errors, HasSubstr("systemd has not answered within"));
}

TEST_F(InTheMiddle, ASignalIsServedWhileSystemdHangs) {
  SilentBus bus;
  auto hanging = environment();
  hanging["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address();
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    Program run(Treekill({"echo", "has run"}), hanging);
    // The command, waiting.
    ASSERT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() == 3; }));
    run.Signal(signal);
    Outcome outcome = run.Wait();
    EXPECT_EQ(outcome.signal(), signal) << outcome.errors;
    EXPECT_THAT(outcome.output, IsEmpty());
    EXPECT_THAT(outcome.errors, HasSubstr("given up while systemd was asked"));
  }
}

// What has the name already is not ours to stop.
TEST_F(InTheMiddle, AnotherUnitOfThatNameIsLeftAlone) {
  TempDir folder;
  const std::string end = folder.File("end");
  Program other({"systemd-run", "-q", "--scope", "--unit=mine", "sh", "-c",
                 "until [ -e $0 ]; do sleep 0.02; done", end},
                environment());
  ASSERT_TRUE(Eventually([&] {
    return Run({"systemctl", "is-active", "mine.scope"}).output == "active\n";
  }));
  for (int i = 0; i < 5; ++i) {
    Program run(Treekill({"--unit=mine", "sleep", "1000"}), environment());
    // Some moment of its start.
    absl::SleepFor(absl::Milliseconds(20 * i));
    run.Signal(SIGTERM);
    run.Wait();
  }
  WriteAll(end, "");
  EXPECT_EQ(other.Wait().exit_code(), 0);
}

// On the system's bus anybody may send anybody a signal.
TEST_F(InTheMiddle, ASignalThatIsNotSystemdsIsNotBelieved) {
  TempDir folder;
  std::string sent = folder.path() + "/sent";
  Program run(Treekill({"--unit=mine", "sh", "-c",
                        "until [ -e \"$0\" ]; do sleep 0.02; done", sent}),
              environment());
  std::string name;
  ASSERT_TRUE(Eventually([&] {
    name = Run({"sh", "-c",
                "busctl list --unique --no-legend | "
                "awk '$3 == \"treekill-system\" { printf \"%s\", $1 }'"})
               .output;
    return !name.empty();
  }));
  ASSERT_TRUE(Eventually([&] {
    return Run({"systemctl", "is-active", "mine.scope"}).output == "active\n";
  }));
  std::vector<pid_t> helpers = Named("treekill-system");
  ASSERT_EQ(helpers.size(), 1u);
  auto times_slept = [&] {
    constexpr char kSlept[] = "\nvoluntary_ctxt_switches:";
    std::string status = ReadAll(absl::StrCat("/proc/", helpers[0], "/status"));
    size_t at = status.find(kSlept);
    return at == std::string::npos ? 0
                                   : std::atol(&status[at + strlen(kSlept)]);
  };
  // It asks systemd about each, so that it sleeps meanwhile: when it has seen
  // the last, it has done with the first.
  for (int i = 0; i < 5; ++i) {
    const long before = times_slept();
    Outcome emitted = RunWithoutSession(
        kTester, {"busctl", "--system", "emit", "--destination=" + name,
                  "/org/freedesktop/systemd1/unit/mine_2escope",
                  "org.freedesktop.systemd1.Scope", "RequestStop"});
    EXPECT_EQ(emitted.exit_code(), 0) << emitted.errors;
    EXPECT_TRUE(Eventually([&] { return times_slept() > before; }));
  }
  WriteAll(sent, "");
  Outcome outcome = run.Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
}

// It holds the other end of all that the host has open.
TEST_F(InTheMiddle, AForkedChildOfAHostKeepsNothing) {
  TempDir folder;
  std::string ready = folder.path() + "/ready";
  Program host({HostPath(), absl::StrCat("--ready=", ready), "--then=fork",
                "sleep", "1000"},
               environment());
  ASSERT_TRUE(Eventually([&] { return !ReadAll(ready).empty(); }));
  EXPECT_EQ(Named("treekill-system").size(), 1u);
  host.Signal(SIGUSR1);
  ASSERT_TRUE(Eventually([&] { return Named("host").size() == 2; }));
  host.Signal(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() == 1; }));
  EXPECT_EQ(Named("host").size(), 1u);
  KillByCookie(cookie());
}

TEST_F(InTheMiddle, TreekillIsKilled) {
  Program run(Treekill({"sh", "-c", "setsid sleep 1000 & sleep 1000"}),
              environment());
  ASSERT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() >= 5; }));
  run.Signal(SIGKILL);
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
}

}  // namespace
}  // namespace treekill::rig
