// treekill kill NAME: ends runs by their names.
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/cli/runs_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class KillRunTest : public RunsTest {
 protected:
  Outcome Kill(Arguments arguments) {
    arguments.insert(arguments.begin(), {TreekillPath(), "kill"});
    return Start(std::move(arguments))->Wait();
  }

  // A run with a daemon below its shell, all of which are deaf to TERM.
  std::unique_ptr<Program> StartDeaf(const std::string& name,
                                     Arguments options = {}) {
    std::string up = File(absl::StrCat("up-", ++started_));
    const char* until =
        "until [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done; ";
    options.insert(
        options.end(),
        {"--name", name, "--", "bash", "-c",
         absl::StrCat("trap '' TERM; setsid sleep 60 & ", until, "sleep 60 & ",
                      until, "touch ", up, "; while :; do wait; done")});
    std::unique_ptr<Program> run = StartRun(std::move(options));
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(up); }));
    return run;
  }

 private:
  int started_ = 0;
};

TEST_F(KillRunTest, NothingOfItIsAliveThen) {
  for (const char* containment : {"auto", "subreaper"}) {
    SCOPED_TRACE(containment);
    std::unique_ptr<Program> run = StartDeaf(
        "deaf", {absl::StrCat("--containment=", containment), "-k", "0"});
    Outcome outcome = Kill({"-v", "-k", "100ms", "deaf"});
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(outcome.errors,
                ContainsRegex("^treekill: nothing of treekill-deaf-[0-9a-f-]+ "
                              "is alive; SIGKILL was needed\n$"));
    EXPECT_EQ(run->Wait().signal(), SIGKILL);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  }
}

TEST_F(KillRunTest, TermIsFirstAndIsEnoughForMost) {
  std::unique_ptr<Program> run = StartRun(
      {"--name=soft", "bash", "-c",
       absl::StrCat("trap 'echo ended; exit 9' TERM; sleep 60 & touch ",
                    File("up"), "; wait")});
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(File("up")); }));
  Outcome outcome = Kill({"-v", "soft"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, testing::EndsWith("is alive\n"));
  Outcome ended = run->Wait();
  EXPECT_EQ(ended.exit_code(), 9);
  EXPECT_EQ(ended.output, "ended\n");
}

// Whoever looks at the report can tell it from a command that ends by itself
// and leaves something behind.
TEST_F(KillRunTest, IsNoLeakOfTheCommands) {
  std::unique_ptr<Program> run = StartRun(
      {"--name=told", "--on-leak=fail", "-k", "100ms",
       "--report=" + File("report"), "bash", "-c",
       absl::StrCat(
           "trap 'exit 0' TERM; setsid bash -c 'trap \"\" TERM; touch ",
           File("up"), "; while :; do sleep 1; done' & wait")});
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(File("up")); }));
  EXPECT_EQ(Kill({"-k", "2s", "told"}).exit_code(), 0);
  EXPECT_EQ(run->Wait().exit_code(), 0);
  nlohmann::json report = nlohmann::json::parse(ReadAll(File("report")));
  EXPECT_EQ(report["reason"], "kill");
  EXPECT_EQ(report["leaked_count"], 0);
  EXPECT_EQ(report["drained"], true);
}

// None of its processes can be signalled from there, so none needs time.
TEST_F(KillRunTest, FromAnotherPidNamespaceIsAtOnce) {
  std::unique_ptr<Program> run = StartDeaf("outside");
  Outcome outcome = Start({"unshare", "--pid", "--fork", "--mount-proc",
                           TreekillPath(), "kill", "-k", "1000s", "outside"})
                        ->Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(run->Wait().signal(), SIGKILL);
}

TEST_F(KillRunTest, MinusNineIsAtOnce) {
  std::unique_ptr<Program> run = StartDeaf("nine");
  EXPECT_EQ(Kill({"-9", "nine"}).exit_code(), 0);
  EXPECT_EQ(run->Wait().signal(), SIGKILL);
}

// Their graces go on together.
TEST_F(KillRunTest, SeveralAtTheSameTime) {
  std::vector<std::unique_ptr<Program>> runs;
  for (const char* name : {"one", "two", "two"}) {
    runs.push_back(StartDeaf(name));
  }
  Outcome outcome = Kill({"-v", "-k", "100ms", "one", "two"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 3);
  for (std::unique_ptr<Program>& run : runs) run->Wait();
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(KillRunTest, AnUnknownOneBesideDoesNotSaveTheOthers) {
  std::unique_ptr<Program> run = StartDeaf("known");
  Outcome dry = Kill({"--dry-run", "unknown", "known"});
  EXPECT_EQ(dry.exit_code(), 1);
  EXPECT_THAT(dry.output, HasSubstr(" (bash)\n"));
  Outcome outcome = Kill({"-9", "unknown", "known"});
  EXPECT_EQ(outcome.exit_code(), 1);
  EXPECT_EQ(outcome.errors,
            "treekill: no run is called 'unknown'; 'treekill ps' lists them\n");
  run->Wait();
}

TEST_F(KillRunTest, OptionsMayStandBehindTheName) {
  std::unique_ptr<Program> run = StartDeaf("behind");
  Outcome dry = Kill({"behind", "--dry-run"});
  EXPECT_EQ(dry.exit_code(), 0) << dry.errors;
  EXPECT_THAT(dry.output, HasSubstr(" (bash)\n"));
  EXPECT_EQ(Kill({"behind", "-9", "-v"}).exit_code(), 0);
  run->Wait();
}

// In the same words as without --dry-run.
TEST_F(KillRunTest, ADryRunRefusesWhatWouldBeRefused) {
  Outcome outcome = Run(
      {"--name=dryself", "--", TreekillPath(), "kill", "--dry-run", "dryself"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr(" holds treekill itself"));
}

TEST_F(KillRunTest, ADryRunTouchesNobody) {
  std::unique_ptr<Program> run = StartDeaf("dry");
  std::vector<pid_t> before = FindByCookie(cookie());
  Outcome outcome = Kill({"--dry-run", "dry"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.output, ContainsRegex("[0-9]+ \\(bash\\)\n"));
  EXPECT_THAT(outcome.output, ContainsRegex("[0-9]+ \\(sleep\\)\n"));
  // The program that became a sleep(1) may have been seen as another before.
  for (pid_t pid : FindByCookie(cookie())) {
    EXPECT_THAT(before, testing::Contains(pid));
  }
  EXPECT_THAT(FindByCookie(cookie()), SizeIs(testing::Ge(4U)));
  Kill({"-9", "dry"});
  run->Wait();
}

TEST_F(KillRunTest, AFrozenOneDiesToo) {
  std::unique_ptr<Program> run = StartDeaf("ice");
  EXPECT_EQ(Start({TreekillPath(), "freeze", "ice"})->Wait().exit_code(), 0);
  EXPECT_EQ(Kill({"-k", "100ms", "ice"}).exit_code(), 0);
  run->Wait();
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(KillRunTest, ItsOwnRunIsRefused) {
  Outcome outcome = Run({"--name=self", "--", TreekillPath(), "kill", "self"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr(" holds treekill itself"));
}

TEST_F(KillRunTest, AnothersIsLeftAlone) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  LetOthersIn();
  std::string copy = CopyOf(TreekillPath());
  for (const char* containment : {"cgroup", "subreaper"}) {
    SCOPED_TRACE(containment);
    std::unique_ptr<Program> run =
        StartDeaf("roots", {absl::StrCat("--containment=", containment)});
    Outcome outcome = Start({copy, "kill", "-9", "roots"}, [] {
                        if (setgid(65534) != 0 || setuid(65534) != 0) _exit(98);
                      })->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors,
                HasSubstr("it is user 0's; run as that or root"));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'),
              1);
    EXPECT_THAT(FindByCookie(cookie()), SizeIs(testing::Ge(3U)));
    Kill({"-9", "roots"});
    run->Wait();
  }
}

TEST_F(KillRunTest, ANameMeansOnesOwnRunsFirst) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  std::unique_ptr<Program> roots = StartDeaf("shared");
  LetOthersIn();
  std::string copy = CopyOf(TreekillPath());
  auto become_nobody = [] {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(98);
  };
  std::unique_ptr<Program> own = Start(
      {copy, "run", "--containment=subreaper", "--name=shared", "sleep", "60"},
      become_nobody);
  ASSERT_TRUE(Eventually([&] {
    Outcome listed = Start({copy, "ps", "shared"}, become_nobody)->Wait();
    return std::count(listed.output.begin(), listed.output.end(), '\n') == 2 &&
           absl::StrContains(listed.output, "subreaper");
  }));
  Outcome outcome =
      Start({copy, "kill", "-9", "shared"}, become_nobody)->Wait();
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(own->Wait().signal(), SIGKILL);
  EXPECT_EQ(Kill({"-9", "shared"}).exit_code(), 0);
  roots->Wait();
}

TEST_F(KillRunTest, OneKindOfTargetAtATime) {
  Outcome outcome = Kill({"--pid=12345", "name"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, StartsWith("treekill: only one of --pid"));
  EXPECT_THAT(Kill({}).errors, HasSubstr("nothing is named; usage: "));
}

}  // namespace
}  // namespace treekill::rig
