// The experiments of the article that treekill grew from, and two holes of
// other tools.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {
namespace {

class ArticleTest : public CliTest {
 protected:
  void TearDown() override {
    KillByCookie(cookie());
    CliTest::TearDown();
  }

  // Runs `script` with bash until watch has run top; returns who is alive
  // afterwards.
  std::vector<pid_t> SurvivorsOf(const std::string& script,
                                 const std::string& containment) {
    std::map<std::string, std::string> variables = environment();
    variables["TERM"] = "xterm";
    Outcome outcome = RunTreekill(
        {"--timeout", "3s", "--containment", containment, "--", "bash", "-c",
         absl::StrCat(script, " >", File("log"), " 2>&1")},
        variables);
    EXPECT_EQ(outcome.exit_code(), 124) << outcome.errors;
    return FindByCookie(cookie());
  }

  // watch runs top anew each second; bash must stay its parent.
  const std::string watch_ = "watch -n1 top -b -n1; :";
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
  const std::string detached = "setsid watch -n1 top -b -n1 & wait; :";
  EXPECT_TRUE(SurvivorsOf(detached, "cgroup").empty());
  EXPECT_FALSE(SurvivorsOf(detached, "process-group").empty());
  KillByCookie(cookie());
  EXPECT_FALSE(SurvivorsOf(detached, "process").empty());
}

TEST_F(ArticleTest, KillAfterReachesTheTreeWhenTheLeaderIsGone) {
  const std::string script =
      "(trap '' TERM; while :; do sleep 1; done) & exec sleep 60";
  Outcome timeout = RunProgram(
      {"timeout", "-k", "0.2", "2", "bash", "-c", script}, environment());
  EXPECT_EQ(timeout.exit_code(), 124);
  // The hole that others have, to be sure that this test sees it.
  EXPECT_FALSE(FindByCookie(cookie()).empty());
  KillByCookie(cookie());
  Outcome outcome = RunTreekill(
      {"-k", "0.2", "--timeout", "2", "bash", "-c", script}, environment());
  EXPECT_EQ(outcome.exit_code(), 124);
  EXPECT_TRUE(FindByCookie(cookie()).empty());
}

TEST_F(ArticleTest, NoOrphanHoldsThePipeOfTheCaller) {
  Outcome outcome = RunProgram(
      {"bash", "-c",
       absl::StrCat("x=$('", TreekillPath(),
                    "' run --timeout 1s -- bash -c 'setsid sleep 60 & sleep "
                    "60'); echo $?")},
      environment());
  EXPECT_EQ(outcome.output, "124\n");
  EXPECT_LT(outcome.duration, absl::Seconds(30));
}

}  // namespace
}  // namespace treekill::rig
