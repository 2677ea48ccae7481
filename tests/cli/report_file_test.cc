// --report and -v: what is said about a run, and where.
#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class ReportFileTest : public CliTest {
 protected:
  std::string Option() const { return "--report=" + File("report"); }

  Json Report() const { return Parse(Read("report")); }

  // One line with one object in it.
  static Json Parse(const std::string& text) {
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << text;
    if (!json.is_object()) return Json::object();
    EXPECT_EQ(json.value("schema_version", 0), 1);
    return json;
  }

  static void ExpectNothingLeft(const Json& report) {
    EXPECT_EQ(report["drained"], true);
    EXPECT_EQ(report["survivors"], Json::array());
    EXPECT_EQ(report["errors"], Json::array());
  }

  static void ExpectOwnLines(const std::string& errors) {
    EXPECT_THAT(errors, testing::EndsWith("\n"));
    std::vector<std::string> lines = absl::StrSplit(errors, '\n');
    lines.pop_back();
    EXPECT_THAT(lines, Each(testing::StartsWith("treekill: ")));
  }
};

TEST_F(ReportFileTest, Exit) {
  double before = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  Outcome outcome = Run({Option(), "--name=some.name", "bash", "-c", "exit 3"});
  EXPECT_EQ(outcome.exit_code(), 3);
  EXPECT_EQ(outcome.errors, "");
  Json report = Report();
  EXPECT_EQ(report["exit_status"], 3);
  EXPECT_EQ(report["name"], "some.name");
  EXPECT_EQ(report["command"], Json({"bash", "-c", "exit 3"}));
  EXPECT_EQ(report["containment"], "cgroup");
  EXPECT_THAT(report["leaf"], HasSubstr("some.name"));
  EXPECT_GT(report["leader"]["pid"], 1);
  EXPECT_EQ(report["leader"]["exit_code"], 3);
  EXPECT_EQ(report["leader"]["signal"], nullptr);
  EXPECT_EQ(report["leader"]["core_dumped"], false);
  EXPECT_EQ(report["reason"], "exit");
  EXPECT_EQ(report["first_signal"], nullptr);
  EXPECT_EQ(report["killed"], false);
  EXPECT_EQ(report["leaked_count"], 0);
  EXPECT_EQ(report["leaked"], Json::array());
  EXPECT_EQ(report["strays_killed"], 0);
  ExpectNothingLeft(report);
  const Json& times = report["times"];
  EXPECT_GE(times["started"], before - 1);
  EXPECT_LE(times["started"], before + 60);
  for (const char* name : {"run", "teardown", "user", "system"}) {
    EXPECT_GE(times[name], 0) << name;
    EXPECT_LE(times[name], 60) << name;
  }
  EXPECT_GT(report["max_rss_kib"], 0);
}

TEST_F(ReportFileTest, SignalThatEndedTheCommand) {
  EXPECT_EQ(Run({Option(), "bash", "-c", "kill -INT $$"}).signal(), SIGINT);
  Json report = Report();
  EXPECT_EQ(report["exit_status"], 130);
  EXPECT_EQ(report["leader"]["exit_code"], nullptr);
  EXPECT_EQ(report["leader"]["signal"], "INT");
  EXPECT_EQ(report["reason"], "exit");
  ExpectNothingLeft(report);
}

TEST_F(ReportFileTest, WhoOutlivedTheLeader) {
  Outcome outcome = Run({Option(), EscapeePath(), "setsid",
                         "--cookie=" + cookie(), "--ready=" + File("ready")});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  Json report = Report();
  std::vector<std::string> pids =
      absl::StrSplit(Read("ready"), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  EXPECT_EQ(report["leaked_count"], pids.size());
  ASSERT_EQ(report["leaked"].size(), pids.size());
  for (const Json& member : report["leaked"]) {
    EXPECT_EQ(member["name"], "escapee");
    EXPECT_THAT(pids,
                testing::Contains(absl::StrCat(member["pid"].get<int>())));
    EXPECT_NE(member["session"], report["leader"]["pid"]);
    EXPECT_GT(member["start_time"], 0);
    EXPECT_THAT(member["state"].get<std::string>(), testing::SizeIs(1));
  }
  EXPECT_EQ(report["reason"], "exit");
  EXPECT_EQ(report["first_signal"], "TERM");
  ExpectNothingLeft(report);
}

TEST_F(ReportFileTest, Timeout) {
  EXPECT_EQ(Run({Option(), "--timeout=0.2", "sleep", "600"}).exit_code(), 124);
  Json report = Report();
  EXPECT_EQ(report["exit_status"], 124);
  EXPECT_EQ(report["reason"], "timeout");
  EXPECT_EQ(report["first_signal"], "TERM");
  EXPECT_EQ(report["leader"]["signal"], "TERM");
  EXPECT_EQ(report["killed"], false);
  EXPECT_GE(report["times"]["run"], 0.19);
  ExpectNothingLeft(report);
}

TEST_F(ReportFileTest, TimeoutThatTakesSigkill) {
  Outcome outcome = Run({Option(), "-v", "--timeout=0.2", "-s", "KILL", "bash",
                         "-c", "setsid sleep 600 & sleep 600"});
  EXPECT_THAT(outcome.errors, HasSubstr("; SIGKILL was needed; nothing is "));
  EXPECT_EQ(outcome.exit_code(), 137);
  Json report = Report();
  EXPECT_EQ(report["exit_status"], 137);
  EXPECT_EQ(report["reason"], "timeout");
  EXPECT_EQ(report["leader"]["signal"], "KILL");
  EXPECT_EQ(report["killed"], true);
  ExpectNothingLeft(report);
}

TEST_F(ReportFileTest, Stop) {
  std::string ready = File("ready");
  std::unique_ptr<Program> program =
      StartRun({Option(), EscapeePath(), "setsid", "--cookie=" + cookie(),
                "--ready=" + ready, "--then=stay"});
  ASSERT_TRUE(Eventually([&] { return access(ready.c_str(), F_OK) == 0; }));
  program->Signal(SIGTERM);
  EXPECT_EQ(program->Wait().signal(), SIGTERM);
  Json report = Report();
  EXPECT_EQ(report["exit_status"], 143);
  EXPECT_EQ(report["reason"], "stop");
  EXPECT_EQ(report["first_signal"], "TERM");
  EXPECT_EQ(report["leader"]["signal"], "TERM");
  EXPECT_EQ(report["leaked_count"], 0);
  ExpectNothingLeft(report);
}

TEST_F(ReportFileTest, CommandThatCannotRun) {
  for (const auto& [command, status] :
       {std::pair(std::string("/no/such/program"), 127),
        std::pair(directory(), 126)}) {
    EXPECT_EQ(Run({Option(), command}).exit_code(), status);
    Json report = Report();
    EXPECT_EQ(report["exit_status"], status);
    EXPECT_THAT(report["error"], HasSubstr(command));
  }
}

TEST_F(ReportFileTest, TreekillThatFails) {
  Outcome outcome =
      Run({Option(), "--containment=process", "--require=cgroup", "true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  Json report = Report();
  EXPECT_EQ(report["exit_status"], 125);
  std::string error = report["error"];
  EXPECT_EQ(outcome.errors, "treekill: " + error + "\n");
}

TEST_F(ReportFileTest, OtherContainments) {
  for (const char* containment : {"process", "process-group"}) {
    Run({Option(), absl::StrCat("--containment=", containment), "true"});
    Json report = Report();
    EXPECT_EQ(report["containment"], containment);
    EXPECT_EQ(report["leaf"], nullptr);
    EXPECT_EQ(report["leader"]["exit_code"], 0);
  }
}

TEST_F(ReportFileTest, BytesThatAreNoText) {
  Run({Option(), "bash", "-c", "exit 0", "\xff\"\\\n\x1b[2J"});
  EXPECT_EQ(Report()["command"][3], "\xef\xbf\xbd\"\\\n\x1b[2J");
}

TEST_F(ReportFileTest, OldReportIsReplaced) {
  WriteAll(File("report"), std::string(100000, 'x') + "\n");
  Run({Option(), "true"});
  EXPECT_EQ(Report()["exit_status"], 0);
}

TEST_F(ReportFileTest, RelativeToTheCallersFolder) {
  std::string folder = directory();
  Run({"--report=report", "--chdir=/", "true"}, [&folder] {
    if (chdir(folder.c_str()) != 0) _exit(99);
  });
  EXPECT_EQ(Report()["exit_status"], 0);
}

TEST_F(ReportFileTest, DescriptorThatTheCommandDoesNotGet) {
  std::string path = File("report");
  auto open_seven = [&path] {
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, 7);
    if (fd != 7) close(fd);
  };
  Outcome outcome = Run(
      {"--report=fd:7", "bash", "-c", "[ ! -e /proc/self/fd/7 ]"}, open_seven);
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(Report()["exit_status"], 0);
}

// The command has its own use for those.
TEST_F(ReportFileTest, StandardStreams) {
  constexpr char kTalk[] = "echo out; echo err >&2";
  Outcome outcome = Run({"--report=fd:2", "bash", "-c", kTalk});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.output, "out\n");
  EXPECT_TRUE(absl::StartsWith(outcome.errors, "err\n{")) << outcome.errors;
  outcome = Run({"--report=fd:1", "bash", "-c", kTalk});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_TRUE(absl::StartsWith(outcome.output, "out\n{")) << outcome.output;
  EXPECT_EQ(outcome.errors, "err\n");
}

// A file that took the number of a closed stream would get our messages.
TEST_F(ReportFileTest, ClosedStandardStreams) {
  for (int closed = 0; closed < 8; ++closed) {
    SCOPED_TRACE(closed);
    Outcome outcome = Run({"-v", Option(), "bash", "-c", "exit 3"}, [closed] {
      for (int fd = 0; fd < 3; ++fd) {
        if ((closed & 1 << fd) != 0) close(fd);
      }
    });
    EXPECT_EQ(outcome.exit_code(), 3);
    EXPECT_EQ(Report()["exit_status"], 3);
  }
}

TEST_F(ReportFileTest, CannotBeWritten) {
  Outcome outcome = Run({"--report=/dev/full", "true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  ExpectOwnLines(outcome.errors);
  outcome = Run({"--report=fd:9", "true"}, [] {
    int fds[2];
    if (pipe(fds) != 0) _exit(99);
    dup2(fds[1], 9);
    close(fds[0]);
    if (fds[1] != 9) close(fds[1]);
  });
  EXPECT_EQ(outcome.exit_code(), 125);
  ExpectOwnLines(outcome.errors);
}

TEST_F(ReportFileTest, VerboseSpeaksOnStandardErrorOnly) {
  Outcome quiet = Run({"bash", "-c", "echo out; setsid sleep 600 & exit 3"});
  EXPECT_EQ(quiet.exit_code(), 3);
  EXPECT_EQ(quiet.output, "out\n");
  EXPECT_EQ(quiet.errors, "");
  Outcome verbose =
      Run({"-v", EscapeePath(), "setsid", "--cookie=" + cookie()});
  EXPECT_EQ(verbose.exit_code(), 0);
  EXPECT_EQ(verbose.output, "");
  ExpectOwnLines(verbose.errors);
  EXPECT_THAT(verbose.errors, HasSubstr("containment cgroup"));
  EXPECT_THAT(verbose.errors, HasSubstr("(escapee)"));
  EXPECT_THAT(verbose.errors, HasSubstr("nothing is left"));
}

TEST_F(ReportFileTest, VerboseIsHarmlessToATerminal) {
  std::string program = File("na\x1b[2Jme\n");
  ASSERT_EQ(symlink("/bin/sleep", program.c_str()), 0);
  Outcome outcome = Run({"-v", "--timeout=0.2", program, "600"});
  EXPECT_EQ(outcome.exit_code(), 124);
  ExpectOwnLines(outcome.errors);
  EXPECT_THAT(outcome.errors, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace treekill::rig
