// Processes that leave the leaf, and the odd things that can be done to it;
// and processes that are not the command's, which must be left alone.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

class StrayTest : public CliTest {
 protected:
  void TearDown() override {
    std::vector<pid_t> survivors = FindByCookie(cookie());
    EXPECT_TRUE(survivors.empty()) << survivors.size();
    CliTest::TearDown();
  }

  // Runs `script` with $leaf and $parent, the directories of the command's
  // cgroup and of treekill's, after `prefix`, the words of a shell.
  Outcome Run(const std::string& prefix, const std::string& options,
              const std::string& script) {
    std::string file = File("script");
    WriteAll(file, absl::StrCat("parent=", OwnCgroup(),
                                "\nleaf=$parent/$(sed -n 's,^0::.*/,,p' "
                                "/proc/self/cgroup)\n",
                                script));
    return RunProgram({"bash", "-c",
                       absl::StrCat(prefix, " exec '", treekill_, "' run ",
                                    options, " bash ", file)},
                      environment());
  }

  // The prefix of a treekill whose clock leaps ahead by an hour when there is
  // `leap`.
  std::string ByLeapingClock() {
    treekill_ = TreekillWithFaultsPath();
    return absl::StrCat("export TREEKILL_LEAP=", File("leap"), ";");
  }

  std::string treekill_ = TreekillPath();
};

TEST_F(StrayTest, DiesWhenItIgnoresTermInAnotherCgroup) {
  Outcome outcome = Run("", "",
                        "trap '' TERM; echo $BASHPID >$parent/cgroup.procs\n"
                        "for i in 1 2 3; do setsid sleep 60 & done; exit 3");
  EXPECT_EQ(outcome.exit_code(), 3);
  EXPECT_EQ(outcome.errors, "");
}

TEST_F(StrayTest, DiesWhenThereAreNoDescriptorsLeft) {
  for (int limit : {12, 13, 14, 16}) {
    SCOPED_TRACE(limit);
    Outcome outcome = Run(absl::StrCat("ulimit -n ", limit, ";"), "",
                          "trap '' TERM; echo $BASHPID >$parent/cgroup.procs\n"
                          "setsid sleep 60 & sleep 60 & exit 3");
    EXPECT_TRUE(outcome.exit_code() == 3 || outcome.exit_code() == 125)
        << outcome.exit_code();
    EXPECT_TRUE(FindByCookie(cookie()).empty()) << outcome.errors;
  }
}

TEST_F(StrayTest, DiesInACgroupMadeInThePlaceOfTheLeaf) {
  Outcome outcome = Run(ByLeapingClock(), "--timeout 1h -k 200ms",
                        "echo $$ >$parent/cgroup.procs\n"
                        "rmdir $leaf && mkdir -p $leaf/x\n"
                        "echo $$ >$leaf/x/cgroup.procs\n"
                        "setsid sleep 60 & sleep 60 & >" +
                            File("leap") + "; wait");
  EXPECT_EQ(outcome.exit_code(), 124) << outcome.errors;
}

// `exec treekill` keeps the children of the shell that it replaces.
TEST_F(StrayTest, ChildrenFromBeforeAreLeftAlone) {
  std::string trace = File("trace");
  Outcome outcome =
      Run(absl::StrCat("(until [ -e ", File("go"),
                       " ]; do sleep 0.02; done; echo alive >", trace, ") &"),
          "", "setsid sleep 60 & echo $BASHPID >$parent/cgroup.procs; exit 3");
  EXPECT_EQ(outcome.exit_code(), 3) << outcome.errors;
  WriteAll(File("go"), "");
  EXPECT_TRUE(Eventually([&] { return ReadAll(trace) == "alive\n"; }));
  EXPECT_TRUE(WaitForNobody(cookie(), absl::Seconds(60)).empty());
}

TEST_F(StrayTest, TreekillInTreekillEndsBoth) {
  Outcome outcome = Run(
      ByLeapingClock(), "--timeout 1h",
      absl::StrCat("'", TreekillPath(), "' run -- bash -c 'setsid sleep 60 & >",
                   File("leap"), "; wait'"));
  EXPECT_EQ(outcome.exit_code(), 124) << outcome.errors;
}

}  // namespace
}  // namespace treekill::rig
