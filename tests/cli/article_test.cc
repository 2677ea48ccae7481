// The experiments of the article that treekill grew from, and two holes of
// other tools.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;

class ArticleTest : public CliTest {
 protected:
  void TearDown() override {
    KillByCookie(cookie());
    CliTest::TearDown();
  }

  // `treekill run`, whose time limit is over when File("leap") is there.
  std::unique_ptr<Program> StartToTimeOut(Arguments arguments) {
    arguments.insert(arguments.begin(),
                     {TreekillWithFaultsPath(), "run", "--timeout=1h"});
    std::map<std::string, std::string> variables = environment();
    variables["TERM"] = "xterm";
    variables["TREEKILL_LEAP"] = File("leap");
    return std::make_unique<Program>(std::move(arguments), variables);
  }

  // Runs `script` with bash until watch has run top; returns who is alive
  // afterwards.
  std::vector<pid_t> SurvivorsOf(const std::string& script,
                                 const std::string& containment) {
    for (const char* file : {"log", "leap"}) unlink(File(file).c_str());
    std::unique_ptr<Program> run =
        StartToTimeOut({"--containment", containment, "--", "bash", "-c",
                        script + " >/dev/null 2>&1"});
    EXPECT_TRUE(Eventually([&] {
      return absl::StrContains(Read("log"), "load");
    })) << Read("log");
    WriteAll(File("leap"), "");
    Outcome outcome = run->Wait();
    EXPECT_EQ(outcome.exit_code(), 124) << outcome.errors;
    return FindByCookie(cookie());
  }

  // watch runs top anew each second; bash must stay its parent.
  const std::string watch_ = WatchCommand() + "; :";

  // What watch prints itself may stay in its buffer.
  std::string WatchCommand() const {
    return absl::StrCat("watch -n1 'top -b -n1 | tee ", File("log"), "'");
  }
};

TEST_F(ArticleTest, CgroupLeavesNoWatch) {
  EXPECT_TRUE(SurvivorsOf(watch_, "cgroup").empty());
}

TEST_F(ArticleTest, KillingTheProcessLeavesAnOrphan) {
  std::vector<pid_t> survivors = SurvivorsOf(watch_, "process");
  // What watch has just forked has its name too until it is top.
  bool orphan = false;
  for (pid_t pid : survivors) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    if (!stat.has_value() || stat->comm != "watch") continue;
    // Its parent is PID 1 or a subreaper: not one of the tree, at any rate.
    orphan |= std::find(survivors.begin(), survivors.end(), stat->parent) ==
              survivors.end();
  }
  EXPECT_TRUE(orphan);
}

TEST_F(ArticleTest, KillingTheProcessGroupLeavesNoWatch) {
  EXPECT_TRUE(SurvivorsOf(watch_, "process-group").empty());
}

TEST_F(ArticleTest, OnlyCgroupCatchesSetsid) {
  const std::string detached = "setsid " + WatchCommand() + " & wait; :";
  EXPECT_TRUE(SurvivorsOf(detached, "cgroup").empty());
  EXPECT_FALSE(SurvivorsOf(detached, "process-group").empty());
  KillByCookie(cookie());
  EXPECT_FALSE(SurvivorsOf(detached, "process").empty());
}

TEST_F(ArticleTest, KillAfterReachesTheTreeWhenTheLeaderIsGone) {
  auto script = [&](const std::string& ready) {
    return absl::StrCat("(trap '' TERM; : >", File(ready),
                        "; while :; do sleep 1; done) & exec sleep inf");
  };
  Program timeout({"timeout", "-k", "0.2", "1h", "bash", "-c", script("ready")},
                  environment());
  EXPECT_TRUE(Eventually([&] { return fs::exists(File("ready")); }));
  // Before it waits, it may not know its child's pid yet.
  EXPECT_TRUE(
      Eventually([&] { return SleepsIn(timeout.pid(), "sigsuspend"); }));
  // As its own timer does.
  timeout.Signal(SIGALRM);
  EXPECT_EQ(timeout.Wait().exit_code(), 124);
  // The hole that others have, to be sure that this test sees it.
  EXPECT_FALSE(FindByCookie(cookie()).empty());
  KillByCookie(cookie());
  Outcome outcome =
      StartToTimeOut({"-k", "0.2", "bash", "-c", script("leap")})->Wait();
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_TRUE(FindByCookie(cookie()).empty());
}

TEST_F(ArticleTest, NoOrphanHoldsThePipeOfTheCaller) {
  std::string script =
      absl::StrCat("x=$('", TreekillWithFaultsPath(),
                   "' run --timeout 1h -- bash -c 'setsid bash -c \": >",
                   File("leap"), "; exec sleep inf\" & sleep inf'); echo $?");
  std::map<std::string, std::string> variables = environment();
  variables["TREEKILL_LEAP"] = File("leap");
  // It would wait for ever if a process held it.
  Outcome outcome = RunProgram({"bash", "-c", script}, variables);
  EXPECT_EQ(outcome.output, "124\n");
}

}  // namespace
}  // namespace treekill::rig
