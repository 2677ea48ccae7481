// The keeper, as its unit file starts it, for root and for users.
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "tests/systemd/scope_fixture.h"
#include "treekill/treekill.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kUnit[] = "treekill-keeper.service";
constexpr char kTwoSleeps[] = "setsid sleep 1000 & sleep 1000";

class KeeperTest : public ScopeTest {
 protected:
  void TearDown() override {
    if (!IsSkipped()) {
      for (Who who : {Who::kRoot, Who::kUser}) Manage(who, {"stop", kUnit});
    }
    ScopeTest::TearDown();
  }

  Outcome Manage(Who who, Arguments words) const {
    words.insert(words.begin(), "systemctl");
    if (who == Who::kUser) words.insert(words.begin() + 1, "--user");
    return RunAs(who, words);
  }

  // Installs the unit, with the program that is under test, and starts it.
  void StartKeeper(Who who, const std::string& options = "") const {
    bool root = who == Who::kRoot;
    std::string folder =
        root ? "/run/systemd/system"
             : absl::StrCat(kTester.runtime_dir(), "/systemd/user");
    if (!root) {
      KeepManager(kTester);
      RunInSession(kTester, {"mkdir", "-p", folder});
    }
    std::string text = ReadAll(absl::StrCat(BuildFolder(), "/packaging/",
                                            root ? "system/" : "user/", kUnit));
    std::string program = text.substr(text.find("ExecStart=") + 10);
    program.resize(program.find('\n'));
    WriteAll(
        absl::StrCat(folder, "/", kUnit),
        absl::StrReplaceAll(
            text, {{program,
                    absl::StrCat(absl::StrJoin(Subcommand("keeper", {}), " "),
                                 " ", options)}}));
    ASSERT_EQ(Manage(who, {"daemon-reload"}).exit_code(), 0);
    Outcome started = Manage(who, {"start", kUnit});
    ASSERT_EQ(started.exit_code(), 0)
        << started.errors << Run({"journalctl", "--no-pager"}).output;
  }

  pid_t MainPid() const {
    std::string text =
        Manage(Who::kRoot, {"show", "-P", "MainPID", kUnit}).output;
    return std::atoi(text.c_str());
  }

  size_t Sleeps() const { return Named("sleep").size(); }

  static pid_t GuardianOf(pid_t treekill) {
    std::istringstream children(ReadAll(
        absl::StrCat("/proc/", treekill, "/task/", treekill, "/children")));
    for (pid_t pid; children >> pid;) {
      if (IsCalled(pid, "treekill-guard")) return pid;
    }
    return 0;
  }

  // Kills the treekill and its guardian in the same instant, when kTwoSleeps
  // has come so far.
  void KillBoth() const {
    ASSERT_TRUE(Eventually([&] { return Sleeps() == 2; }));
    std::vector<pid_t> treekills = Named("treekill");
    ASSERT_EQ(treekills.size(), 1u);
    pid_t treekill = treekills[0];
    pid_t guardian = 0;
    // For a moment of its life it is called otherwise.
    ASSERT_TRUE(Eventually([&] {
      guardian = GuardianOf(treekill);
      return guardian != 0;
    }));
    // Or it would start another guardian.
    kill(treekill, SIGSTOP);
    kill(guardian, SIGKILL);
    kill(treekill, SIGKILL);
  }

  static constexpr char kLink[] = "/run/treekill/keeper";
};

TEST_F(KeeperTest, RootsCommandsAreBelowItAndNobodyIsAsked) {
  StartKeeper(Who::kRoot);
  setenv("TREEKILL_SYSTEMD", "/none", 1);
  for (const char* containment : {"auto", "cgroup"}) {
    Outcome outcome = Run(Treekill(
        {"-v", absl::StrCat("--containment=", containment), "--require=cgroup",
         "sh", "-c", "setsid sleep 1000 & grep 0:: /proc/self/cgroup"}));
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(
        outcome.output,
        HasSubstr("0::/system.slice/treekill-keeper.service/treekill-"));
    EXPECT_THAT(outcome.errors, AllOf(HasSubstr("containment cgroup, below"),
                                      HasSubstr("which is the keeper's"),
                                      HasSubstr("nothing is left")));
  }
  EXPECT_EQ(Run(Treekill({"false"})).exit_code(), 1);
}

// The kernel lets nobody but root move a process from a session to there.
TEST_F(KeeperTest, FromASessionAUserHasAScopeAllTheSame) {
  StartKeeper(Who::kUser);
  Outcome outcome =
      RunInSession(kTester, Treekill({"grep", "0::", "/proc/self/cgroup"}));
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_THAT(outcome.errors, IsEmpty());
  EXPECT_THAT(outcome.output, HasSubstr(".scope/treekill-"));
}

TEST_F(KeeperTest, WhatAKeeperCannotGiveIsGivenByAScope) {
  StartKeeper(Who::kRoot);
  for (const char* option : {"--unit=mine", "--slice=mine", "-pTasksMax=50",
                             "--containment=scope", "--require=scope"}) {
    Outcome outcome =
        Run(Treekill({option, "grep", "0::", "/proc/self/cgroup"}));
    EXPECT_THAT(outcome.output, HasSubstr(".scope/treekill-")) << option;
  }
}

TEST_F(KeeperTest, AServerSeesItComeAndGo) {
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  ASSERT_TRUE(supervisor.ok()) << supervisor.status();
  auto run = [&](const ScopeOptions& scope) {
    absl::StatusOr<Tree> tree =
        supervisor->Spawn({.argv = {"true"}}, {.scope = scope});
    EXPECT_TRUE(tree.ok()) << tree.status();
    if (!tree.ok()) return std::string();
    EXPECT_EQ(tree->Wait(absl::Minutes(1)).value_or(false), true);
    EXPECT_TRUE(tree->report().drained);
    return absl::StrCat(ContainmentName(tree->report().containment), " ",
                        tree->report().leaf);
  };
  EXPECT_THAT(run({}),
              HasSubstr("scope /sys/fs/cgroup/system.slice/treekill-"));
  StartKeeper(Who::kRoot);
  EXPECT_THAT(run({}), HasSubstr("cgroup /sys/fs/cgroup/system.slice/"
                                 "treekill-keeper.service/treekill-"));
  // It cannot give that.
  EXPECT_THAT(run({.properties = {"TasksMax=50"}}), HasSubstr("scope "));
  ASSERT_EQ(Manage(Who::kRoot, {"stop", kUnit}).exit_code(), 0);
  EXPECT_THAT(run({}), HasSubstr("scope "));
  ASSERT_EQ(Manage(Who::kRoot, {"start", kUnit}).exit_code(), 0);
  EXPECT_THAT(run({}), HasSubstr("cgroup "));
}

TEST_F(KeeperTest, EndsWhatAKilledTreekillAndItsGuardianHaveLeft) {
  StartKeeper(Who::kRoot);
  // The second one is made while it knows of the first.
  for (int i = 0; i < 2; ++i) {
    Program run(Treekill({"sh", "-c", kTwoSleeps}), environment());
    KillBoth();
    EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
    EXPECT_TRUE(Eventually([] { return Cgroups().size() == 1; }))
        << testing::PrintToString(Cgroups());
  }
  EXPECT_THAT(Run({"journalctl", "--no-pager", "-u", kUnit}).output,
              HasSubstr("is gone; killed"));
}

TEST_F(KeeperTest, EndsWhatIsLeftInScopesToo) {
  StartKeeper(Who::kRoot, "--sweep-interval=200ms");
  Program run(Treekill({"--containment=scope", "sh", "-c", kTwoSleeps}),
              environment());
  KillBoth();
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
}

TEST_F(KeeperTest, EndsWhatAUsersTreekillHasLeft) {
  StartKeeper(Who::kUser, "--sweep-interval=200ms");
  // runuser would stop with it, and for good.
  Arguments argv = {"sh", "-c", "\"$@\"; true", "sh"};
  for (const std::string& word : Treekill({"sh", "-c", kTwoSleeps})) {
    argv.push_back(word);
  }
  Program run(InSession(kTester, argv), environment());
  KillBoth();
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
}

TEST_F(KeeperTest, LeavesAGuardianItsGrace) {
  StartKeeper(Who::kRoot);
  TempDir folder;
  // A member, and not the leader: the kernel kills that.
  const char* script =
      "cd $0; (trap ': >asked; until [ -e end ]; do sleep 0.02; done; "
      "echo yes >done; exit' TERM; : >up; while :; do sleep 0.02; done) & "
      "exec sleep 1000";
  const std::string graced = NewCookie();
  Program run(Treekill({"-k1000", "sh", "-c", script, folder.path()}),
              {{kCookieVariable, graced}});
  ASSERT_TRUE(Eventually([&] { return fs::exists(folder.File("up")); }));
  run.Signal(SIGTERM);
  ASSERT_TRUE(Eventually([&] { return fs::exists(folder.File("asked")); }));
  run.Signal(SIGKILL);
  // When it ends this one, it has seen that the other has lost its treekill.
  Program later(Treekill({"sh", "-c", kTwoSleeps}), environment());
  KillBoth();
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
  WriteAll(folder.File("end"), "");
  EXPECT_THAT(WaitForNobody(graced, absl::Minutes(1)), IsEmpty());
  EXPECT_EQ(ReadAll(folder.File("done")), "yes\n");
}

TEST_F(KeeperTest, CommandsOutliveIt) {
  StartKeeper(Who::kRoot);
  TempDir folder;
  std::string end = folder.path() + "/end";
  Program run(Treekill({"sh", "-c",
                        absl::StrCat("setsid sleep 1000 & until [ -e ", end,
                                     " ]; do sleep 0.1; done; exit 7")}),
              environment());
  ASSERT_TRUE(Eventually([&] { return Sleeps() >= 1; }));
  ASSERT_EQ(Manage(Who::kRoot, {"restart", kUnit}).exit_code(), 0);
  pid_t killed = MainPid();
  kill(killed, SIGKILL);
  ASSERT_TRUE(Eventually([&] { return MainPid() > killed; }));
  ASSERT_EQ(Manage(Who::kRoot, {"stop", kUnit}).exit_code(), 0);
  EXPECT_FALSE(fs::exists(fs::symlink_status(kLink)));
  // And there are scopes, as before.
  EXPECT_EQ(Run(Treekill({"true"})).exit_code(), 0);
  WriteAll(end, "");
  Outcome outcome = run.Wait();
  EXPECT_EQ(outcome.exit_code(), 7) << outcome.errors;
  EXPECT_THAT(outcome.errors, IsEmpty());
}

// The parameter is the number of rounds.
class KeeperRounds : public KeeperTest,
                     public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Few, KeeperRounds, testing::Values(20));
INSTANTIATE_TEST_SUITE_P(Thorough, KeeperRounds, testing::Values(300));

TEST_P(KeeperRounds, ACommandThatStartsWhileItStopsIsRun) {
  StartKeeper(Who::kRoot);
  TempDir folder;
  std::string done = folder.path() + "/done";
  Program restarts(
      {"sh", "-c",
       absl::StrCat("until [ -e ", done, " ]; do systemctl ", "restart ", kUnit,
                    "; systemctl reset-failed; done")},
      {});
  for (int i = 0; i < GetParam() && !HasFailure(); ++i) {
    Outcome outcome = Run(Treekill({"true"}));
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(outcome.errors, IsEmpty());
  }
  // Or it would be started once more behind this test's end.
  WriteAll(done, "");
  restarts.Wait();
}

// What looks like a keeper comes and goes some hundred times in a second: some
// starts have found it and come too late.
TEST_P(KeeperRounds, OneThatGoesWhileACommandStartsIsDoneWithout) {
  std::string cgroup = "/sys/fs/cgroup/comes-and-goes";
  std::string itself = absl::StrCat(cgroup, "/supervisor");
  fs::create_directory("/run/treekill");
  fs::create_symlink(cgroup, kLink);
  Program inhabitant({"sleep", "1000"}, {});
  std::atomic<bool> done = false;
  std::thread keeper([&] {
    std::error_code busy;
    while (!done) {
      fs::create_directory(cgroup, busy);
      fs::create_directory(itself);
      WriteAll(itself + "/cgroup.procs", absl::StrCat(inhabitant.pid()));
      absl::SleepFor(absl::Milliseconds(1));
      WriteAll("/sys/fs/cgroup/init.scope/cgroup.procs",
               absl::StrCat(inhabitant.pid()));
      rmdir(itself.c_str());
      rmdir(cgroup.c_str());
    }
  });
  for (int i = 0; i < GetParam() && !HasFailure(); ++i) {
    Outcome outcome = Run(Treekill({"true"}));
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.errors, IsEmpty());
  }
  done = true;
  keeper.join();
  fs::remove_all("/run/treekill");
}

TEST_F(KeeperTest, OneThatTakesNobodyIsDoneWithoutAndSaid) {
  StartKeeper(Who::kRoot);
  WriteAll(
      absl::StrCat(fs::read_symlink(kLink).string(), "/cgroup.max.descendants"),
      "1");
  Outcome outcome = Run(Treekill({"grep", "0::", "/proc/self/cgroup"}));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.output, HasSubstr(".scope/treekill-"));
  EXPECT_THAT(outcome.errors,
              HasSubstr("held by a scope, not below the keeper's cgroup: "));
}

TEST_F(KeeperTest, OneThatComesAgainEndsWhatWasLeftMeanwhile) {
  StartKeeper(Who::kRoot);
  Program run(Treekill({"sh", "-c", kTwoSleeps}), environment());
  ASSERT_TRUE(Eventually([&] { return Sleeps() == 2; }));
  ASSERT_EQ(Manage(Who::kRoot, {"stop", kUnit}).exit_code(), 0);
  KillBoth();
  // They are alone.
  EXPECT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() <= 2; }));
  EXPECT_EQ(Sleeps(), 2u);
  ASSERT_EQ(Manage(Who::kRoot, {"start", kUnit}).exit_code(), 0);
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
}

// Does it wait for its descriptors, however long that takes?
bool PollsWithoutLimit(pid_t pid) {
  std::istringstream text(ReadAll(absl::StrCat("/proc/", pid, "/syscall")));
  long number = 0;
  uint64_t fds = 0, count = 0, limit = 0;
  text >> number >> std::hex >> fds >> count >> limit;
#ifdef SYS_poll
  if (number == SYS_poll) return static_cast<int32_t>(limit) < 0;
#endif
  return text && number == SYS_ppoll && limit == 0;
}

// The seconds that are left of the one timer of the process; 0 of none.
long LeftOfTimer(pid_t pid) {
  constexpr char kLeft[] = "it_value: (";
  std::error_code error;
  for (const auto& info :
       fs::directory_iterator(absl::StrCat("/proc/", pid, "/fdinfo"), error)) {
    std::string text = ReadAll(info.path());
    size_t at = text.find(kLeft);
    if (at != std::string::npos) return std::atol(&text[at + strlen(kLeft)]);
  }
  return 0;
}

// By its state, and not by how long nothing is seen of it.
TEST_F(KeeperTest, SleepsUntilTheNextSweepWhileNothingHappens) {
  StartKeeper(Who::kRoot, "--sweep-interval=100h");
  Program run(Treekill({"sleep", "1000"}), environment());
  ASSERT_TRUE(Eventually([&] { return Sleeps() == 1; }));
  pid_t keeper = MainPid();
  // First it looks at the one that is new.
  EXPECT_TRUE(Eventually([&] {
    return LeftOfTimer(keeper) > 90 * 3600 && PollsWithoutLimit(keeper);
  })) << LeftOfTimer(keeper)
      << " s, " << ReadAll(absl::StrCat("/proc/", keeper, "/syscall"));
}

TEST_F(KeeperTest, ThereIsOneOnly) {
  StartKeeper(Who::kRoot);
  Arguments argv = {"systemd-run", "--scope", "-q", "-p", "Delegate=yes"};
  for (const std::string& word : Subcommand("keeper", {})) argv.push_back(word);
  Outcome outcome = Run(argv);
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("there is a keeper already"));
}

TEST_F(KeeperTest, NeedsADelegatedCgroup) {
  Outcome outcome = Run(Subcommand("keeper", {}));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors,
              AllOf(HasSubstr("has not delegated"), HasSubstr("Delegate=yes")));
  EXPECT_FALSE(fs::exists(fs::symlink_status(kLink)));
}

TEST_F(KeeperTest, ALinkWithoutAKeeperIsNotFollowed) {
  fs::create_directory("/run/treekill");
  fs::create_directory("/sys/fs/cgroup/elsewhere");
  for (const char* target :
       {"/none", "/tmp", "/sys/fs/cgroup/elsewhere", "/sys/fs/cgroup"}) {
    fs::remove(kLink);
    fs::create_symlink(target, kLink);
    Outcome outcome = Run(Treekill({"grep", "0::", "/proc/self/cgroup"}));
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.output, HasSubstr(".scope/treekill-")) << target;
  }
  fs::remove_all("/run/treekill");
  fs::remove("/sys/fs/cgroup/elsewhere");
}

}  // namespace
}  // namespace treekill::rig
