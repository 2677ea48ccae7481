#include "treekill/run.h"

#include <optional>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

using ::testing::IsEmpty;

class RunTest : public KernelTest {
 protected:
  RunResult MustRun(const Command& command, const RunOptions& options = {}) {
    absl::StatusOr<RunResult> result = treekill::Run(command, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : RunResult();
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
};

TEST_F(RunTest, OutputAndErrorsAreTakenApart) {
  RunResult result = MustRun(Shell("echo out; echo err >&2; exit 3"));
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.errors, "err\n");
  EXPECT_EQ(result.report.status.code(), 3);
  EXPECT_TRUE(result.report.drained);
  EXPECT_FALSE(result.truncated);
}

TEST_F(RunTest, NoOutput) {
  RunResult result = MustRun(Command{.argv = {"true"}});
  EXPECT_EQ(result.output + result.errors, "");
  EXPECT_TRUE(result.report.status.success());
}

TEST_F(RunTest, BytesArriveAsTheyAre) {
  RunResult result = MustRun(Shell("printf 'a\\0b\\377\\r\\n'"));
  EXPECT_EQ(result.output, std::string("a\0b\xff\r\n", 6));
}

TEST_F(RunTest, MoreThanAPipeHolds) {
  constexpr size_t kSize = 5'000'000;
  RunResult result = MustRun(Shell(absl::StrCat(
      "head -c ", kSize, " /dev/zero; head -c ", kSize, " /dev/zero >&2")));
  EXPECT_EQ(result.output.size(), kSize);
  EXPECT_EQ(result.errors.size(), kSize);
  EXPECT_FALSE(result.truncated);
}

TEST_F(RunTest, Truncation) {
  Command command = Shell("echo 12345; echo abc >&2; exit 4");
  RunResult whole = MustRun(command, {.max_output = 6});
  EXPECT_EQ(whole.output, "12345\n");
  EXPECT_FALSE(whole.truncated);
  RunResult part = MustRun(command, {.max_output = 5});
  EXPECT_EQ(part.output, "12345");
  EXPECT_EQ(part.errors, "abc\n");
  EXPECT_TRUE(part.truncated);
  EXPECT_EQ(part.report.status.code(), 4);
  RunResult none = MustRun(command, {.max_output = 0});
  EXPECT_EQ(none.output + none.errors, "");
  EXPECT_TRUE(none.truncated);
}

TEST_F(RunTest, AFullPipeDoesNotStopACommandThatIsCutShort) {
  RunResult result = MustRun(Shell("head -c 3000000 /dev/zero; echo end >&2"),
                             {.max_output = 1000});
  EXPECT_EQ(result.output.size(), 1000u);
  EXPECT_EQ(result.errors, "end\n");
  EXPECT_TRUE(result.report.status.success());
}

TEST_F(RunTest, ADaemonThatKeepsThePipeDoesNotMakeItHang) {
  RunResult result = MustRun(Escapee("output-holder", File("ready"), "exit"));
  EXPECT_TRUE(result.report.status.success()) << result.errors;
  EXPECT_EQ(result.report.leaked_count, 1);
  EXPECT_TRUE(result.report.drained);
}

TEST_F(RunTest, LastWordsOfTheLeakedAreTaken) {
  RunResult result =
      MustRun(Shell(absl::StrCat(
                  "sh -c \"trap 'echo bye; exit' TERM; echo >", File("up"),
                  "; while :; do sleep 0.05; done\" & "
                  "while [ ! -s ",
                  File("up"), " ]; do sleep 0.01; done; echo first")),
              {.tree = {.teardown = {.steps = {{SIGTERM, absl::Minutes(1)}}}}});
  EXPECT_EQ(result.output, "first\nbye\n");
  EXPECT_FALSE(result.report.killed);
}

TEST_F(RunTest, Timeout) {
  RunResult result = MustRun(Shell("echo before; sleep 600; echo after"),
                             {.tree = {.timeout = absl::Milliseconds(300)}});
  EXPECT_EQ(result.report.reason, EndReason::kTimeout);
  EXPECT_TRUE(result.report.drained);
  EXPECT_EQ(result.output.find("after"), std::string::npos);
}

TEST_F(RunTest, AFloodOfOutputDoesNotKeepTheTimeoutAway) {
  // Until the flood had the time to begin.
  absl::Duration timeout = absl::Milliseconds(200);
  EXPECT_TRUE(rig::Eventually([&] {
    RunResult result =
        MustRun(Shell("for i in 1 2 3 4 5 6 7 8; do "
                      "cat /dev/zero & cat /dev/zero >&2 & done; wait"),
                {.tree = {.timeout = timeout}, .max_output = 1000});
    EXPECT_EQ(result.report.reason, EndReason::kTimeout);
    timeout *= 2;
    return result.truncated;
  }));
}

TEST_F(RunTest, NotFound) {
  absl::Status status =
      treekill::Run(Command{.argv = {"no-such-program"}}).status();
  EXPECT_EQ(CallOf(status), "execve") << status;
  EXPECT_EQ(ErrnoOf(status), ENOENT);
}

TEST_F(RunTest, ACommandThatMakesNoSense) {
  EXPECT_TRUE(absl::IsInvalidArgument(treekill::Run(Command()).status()));
}

TEST_F(RunTest, ACommandThatClosesItsOutputIsWaitedFor) {
  RunResult result = MustRun(Shell("exec >&- 2>&-; sleep 0.3; exit 4"));
  EXPECT_EQ(result.report.status.code(), 4);
}

TEST_F(RunTest, StandardInput) {
  rig::WriteAll(File("input"), "hello");
  int fd = open(File("input").c_str(), O_RDONLY | O_CLOEXEC);
  Command command{.argv = {"cat"}, .stdin_ = Stream::Fd(fd)};
  EXPECT_EQ(MustRun(command).output, "hello");
  close(fd);
  command.stdin_ = Stream::Null();
  EXPECT_EQ(MustRun(command).output, "");
}

TEST_F(RunTest, TheOtherTreesAreServedMeanwhile) {
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  ASSERT_TRUE(supervisor.ok()) << supervisor.status();
  absl::StatusOr<Tree> other = supervisor->Spawn(Shell("sleep 600 & exit 5"));
  ASSERT_TRUE(other.ok()) << other.status();
  absl::StatusOr<RunResult> result =
      treekill::Run(*supervisor,
                    // Until its parent, this process, has waited for it.
                    Shell(absl::StrCat("while [ -e /proc/", other->leader(),
                                       " ]; do sleep 0.01; done; echo x")));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output, "x\n");
  EXPECT_TRUE(other->ended());
  EXPECT_EQ(other->report().status.code(), 5);
}

TEST_F(RunTest, AHostWithClosedStandardStreams) {
  EXPECT_EQ(InChild([]() -> std::string {
              for (int fd : {0, 1, 2}) close(fd);
              absl::StatusOr<RunResult> result =
                  treekill::Run(Shell("echo out; echo err >&2"));
              if (!result.ok()) return result.status().ToString();
              if (result->output != "out\n") return result->output;
              return result->errors == "err\n" ? "" : result->errors;
            }),
            "");
}

}  // namespace
}  // namespace treekill
