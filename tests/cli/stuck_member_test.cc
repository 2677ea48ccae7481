// A member that holds up who looks at it does not hold up its end.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <string>

#include "tests/cli/runs_fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// Alone, as it would hold up each test that looks at all processes: the
// other tests, for one.
class StuckMemberAloneTest : public RunsTest {
 protected:
  void SetUp() override {
    RunsTest::SetUp();
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "needs root and /dev/fuse";
    }
    std::filesystem::create_directory(File("files"));
  }

  // `treekill run` of this script; in it, "stuck NAME" is one that is stuck
  // once there is "ready".
  std::unique_ptr<Program> StartWithStuck(const std::string& script,
                                          Arguments options) {
    std::string program = BuildFolder() + "/tests/stuck_member";
    Set("TREEKILL_LEAP", File("leap"));
    Arguments argv = {program, "--with-files", File("files"),
                      TreekillWithFaultsPath(), "run"};
    options.push_back("--name=" + Name());
    for (std::string& word :
         ScriptRun(absl::StrCat("stuck() { exec '", program,
                                "' files/file ready \"$@\"; }\n", script),
                   std::move(options))) {
      argv.push_back(std::move(word));
    }
    return Start(argv);
  }

  // "command" of the members by their "name".
  static std::map<std::string, Json> Commands(const Json& members) {
    std::map<std::string, Json> commands;
    for (const Json& member : members) {
      commands[member["name"]] = member["command"];
    }
    return commands;
  }
};

constexpr char kBesideASleeper[] = "sleep 600 & stuck";

TEST_F(StuckMemberAloneTest, IsReportedAndEnded) {
  std::unique_ptr<Program> program =
      StartWithStuck(kBesideASleeper, {"-k", "100ms", ReportOption()});
  ASSERT_TRUE(Comes("ready"));
  program->Signal(SIGTERM);
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.signal(), SIGTERM) << outcome.errors;
  Json report = Report();
  EXPECT_EQ(report["drained"], true);
  std::map<std::string, Json> commands = Commands(report["members"]);
  EXPECT_EQ(commands["stuck_member"], Json::array()) << report;
  EXPECT_EQ(commands["sleep"], Json({"sleep", "600"}));
}

TEST_F(StuckMemberAloneTest, IsSaidToHaveLeaked) {
  std::unique_ptr<Program> program = StartWithStuck(
      "sleep 600 &\n(stuck) &\nwhile [ ! -e ready ]; do sleep 0.02; done\n",
      {"-k", "100ms", "--on-leak=warn"});
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, HasSubstr("stuck_member"));
  EXPECT_THAT(outcome.errors, HasSubstr("sleep 600"));
}

TEST_F(StuckMemberAloneTest, IsDumpedAndEnded) {
  // The one that is stuck must not use up the time for the other.
  Set("TREEKILL_LIMITS", "dump:2s read:100ms");
  std::unique_ptr<Program> program = StartWithStuck(
      kBesideASleeper, {"-k", "100ms", "--timeout=1h", "--dump-on-timeout"});
  ASSERT_TRUE(Comes("ready"));
  Leap();
  Outcome outcome = program->Wait();
  // Whom the kernel tries to freeze in vain is deaf to TERM from then on.
  EXPECT_THAT(outcome.exit_code(), AnyOf(124, 137));
  EXPECT_THAT(outcome.errors, HasSubstr("stuck_member"));
  EXPECT_THAT(outcome.errors, HasSubstr("sleep 600"));
}

TEST_F(StuckMemberAloneTest, IsListedAndEndedByName) {
  std::unique_ptr<Program> program = StartWithStuck(kBesideASleeper, {});
  ASSERT_TRUE(Comes("ready"));
  Json run = RunOf(Name(), {"--tree"});
  std::map<std::string, Json> commands = Commands(run["members"]);
  EXPECT_EQ(commands["stuck_member"], Json::array()) << run;
  EXPECT_EQ(commands["sleep"], Json({"sleep", "600"}));
  pid_t leader = run["leader"];
  EXPECT_THAT(
      Treekill({"kill", "--dry-run", absl::StrCat("--pid=", leader)}).output,
      HasSubstr(absl::StrCat(leader, " (stuck_member)")));
  EXPECT_EQ(Treekill({"kill", "-k", "100ms", Name()}).exit_code(), 0);
  program->Wait();
}

TEST_F(StuckMemberAloneTest, WithTheNameOfAReaperDoesNotHoldUpPs) {
  std::unique_ptr<Program> program =
      StartWithStuck("stuck treekill-reaper", {"--containment=subreaper"});
  ASSERT_TRUE(Comes("ready"));
  EXPECT_EQ(RunOf(Name())["member_count"], 1);
  EXPECT_EQ(Treekill({"kill", "-9", Name()}).exit_code(), 0);
  program->Wait();
}

}  // namespace
}  // namespace treekill::rig
