// treekill demo: the matrix that it shows, and that nothing of it is left.
#include <sys/stat.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/cli/escapes.h"
#include "tests/cli/odd_choice.h"
#include "tests/cli/pty.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kLimits[] = "TREEKILL_LIMITS";
constexpr char kHaste[] = "demo-end:100ms demo-watch:0s";

class DemoTest : public CliTest {
 protected:
  std::unique_ptr<Program> StartDemo(Arguments arguments = {}) {
    arguments.insert(arguments.begin(), {TreekillPath(), "demo"});
    return Start(std::move(arguments));
  }

  // One that gives no process the time to die, for what is said about other
  // things.
  std::unique_ptr<Program> StartHastily(
      Arguments arguments, std::function<void()> prepare = nullptr) {
    Set(kLimits, kHaste);
    arguments.insert(arguments.begin(), {TreekillWithFaultsPath(), "demo"});
    return Start(std::move(arguments), std::move(prepare));
  }

  // Checks the rest of it, too: nothing else is printed, nothing is left.
  Json ToJson(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    Json json = Json::parse(outcome.output, nullptr,
                            /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << outcome.output;
    if (!json.is_object()) return Json::object();
    EXPECT_EQ(json["schema_version"], 1);
    EXPECT_EQ(json["left"], Json::array());
    EXPECT_EQ(json["results"].size(),
              json["escapees"].size() * json["methods"].size());
    return json;
  }

  // By escapee and method.
  using Cells = std::map<std::pair<std::string, std::string>, Json>;

  static Cells CellsOf(const Json& json) {
    Cells cells;
    for (const Json& result : json["results"]) {
      EXPECT_EQ(result["survived"].is_null(), result["reason"].is_string())
          << result;
      cells[{result["escapee"], result["method"]}] = result["survived"];
    }
    return cells;
  }

  // A copy that an ordinary user can run.
  std::string CopyForOthers(const std::string& program, mode_t mode) {
    EXPECT_EQ(chmod(directory().c_str(), 0755), 0);
    return CopyOf(program, mode);
  }

  Outcome RunAsNobody(Arguments argv) {
    argv.insert(argv.begin(), {"setpriv", "--reuid=65534", "--regid=65534",
                               "--clear-groups"});
    return Start(std::move(argv))->Wait();
  }

  void WaitForEscapees(size_t count) {
    EXPECT_TRUE(
        Eventually([&] { return FindByCookie(cookie()).size() >= count; }));
  }
};

// Without a standard stream but its output, which is all that it needs.
TEST_F(DemoTest, SeesWhoGetsAway) {
  Outcome outcome = Start({TreekillPath(), "demo", "--json"}, [] {
                      close(STDIN_FILENO);
                      close(STDERR_FILENO);
                    })->Wait();
  Json json = ToJson(outcome);
  Cells cells = CellsOf(json);
  for (const char* method :
       {"process", "process-group", "parent-death signal", "cgroup"}) {
    EXPECT_EQ((cells[{"the command itself", method}]), false) << method;
    EXPECT_EQ((cells[{"setsid", method}]), method != std::string("cgroup"));
    EXPECT_EQ((cells[{"double fork", method}]),
              method != std::string("cgroup"));
    EXPECT_EQ((cells[{"leader's parent SIGKILLed", method}]),
              method != std::string("cgroup"));
  }
  for (const char* escapee : {"child", "grandchild", "ignores TERM"}) {
    EXPECT_EQ((cells[{escapee, "process"}]), true) << escapee;
    EXPECT_EQ((cells[{escapee, "process-group"}]), false) << escapee;
    EXPECT_EQ((cells[{escapee, "parent-death signal"}]), true) << escapee;
  }
  for (const Json& escapee : json["escapees"]) {
    bool unknown = escapee == "setuid program" && getuid() != 0;
    EXPECT_EQ((cells[{escapee, "cgroup"}]), unknown ? Json() : Json(false))
        << escapee;
  }
  if (getuid() == 0) {
    EXPECT_EQ((cells[{"setuid program", "process-group"}]), true);
  }
}

class ThoroughDemoTest : public DemoTest {};

TEST_F(ThoroughDemoTest, SeesTheSameThreeTimes) {
  Cells cells = CellsOf(ToJson(StartDemo({"--json"})->Wait()));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(CellsOf(ToJson(StartDemo({"--json"})->Wait())), cells);
  }
}

TEST_F(DemoTest, ShowsATableWithoutEscapeCodes) {
  Outcome outcome = StartHastily({})->Wait();
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(outcome.output, HasSubstr("\nchild                      lives "));
  EXPECT_THAT(outcome.output, Not(HasSubstr("\033")));
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

TEST_F(DemoTest, ShowsColoursInATerminalUnlessToldNotTo) {
  Set(kLimits, kHaste);
  Shell shell(directory(), environment());
  shell.Line("NO_COLOR= treekill_with_faults demo");
  shell.Expect("child                      \033[31mlives\033[0m ");
  EXPECT_EQ(shell.Prompt(), 0);
  shell.Line("NO_COLOR=1 treekill_with_faults demo");
  shell.Expect("child                      lives ");
  EXPECT_EQ(shell.Prompt(), 0);
}

TEST_F(DemoTest, LeavesNothingAtCtrlC) {
  Shell shell(directory(), environment());
  shell.Line("treekill demo");
  EXPECT_TRUE(Eventually([&] { return shell.Others(cookie()).size() > 10; }));
  shell.Type(kCtrlC);
  EXPECT_EQ(shell.Prompt(), 130);
  EXPECT_THAT(shell.Others(cookie()), IsEmpty());
}

TEST_F(DemoTest, LeavesNothingWhenItIsEnded) {
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) {
    for (size_t escapees : {1, 10, 40}) {
      SCOPED_TRACE(absl::StrCat(signal, ", ", escapees));
      std::unique_ptr<Program> demo = StartDemo();
      WaitForEscapees(escapees);
      demo->Signal(signal);
      Outcome outcome = demo->Wait();
      EXPECT_EQ(outcome.signal(), signal) << outcome.exit_code();
      EXPECT_EQ(outcome.output, "");
      EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
      EXPECT_THAT(LeftLeaves(), IsEmpty());
    }
  }
}

// Its guardian cleans up: see the fixture.
TEST_F(DemoTest, LeavesNothingWhenItIsKilled) {
  std::unique_ptr<Program> demo = StartDemo();
  WaitForEscapees(40);
  demo->Signal(SIGKILL);
  EXPECT_EQ(demo->Wait().signal(), SIGKILL);
}

TEST_F(DemoTest, SaysWhatAnOrdinaryUserCannotTry) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  std::string treekill = CopyForOthers(TreekillWithFaultsPath(), 0755);
  Set(kLimits, kHaste);
  Json json = ToJson(RunAsNobody({treekill, "demo", "--json"}));
  for (const Json& result : json["results"]) {
    std::string escapee = result["escapee"];
    bool unknown = result["method"] == "cgroup" ||
                   result["method"] == "scope" || escapee == "setuid program" ||
                   escapee.find("cgroup") != std::string::npos;
    EXPECT_EQ(result["survived"].is_null(), unknown) << result;
  }
}

// The demo makes a setuid-root copy of treekill, which must be good for
// nothing.
TEST_F(DemoTest, RefusesToBeASetuidProgram) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  std::string treekill = CopyForOthers(TreekillPath(), 04755);
  for (const Arguments& words :
       {Arguments{"run", "id"}, Arguments{"gc"}, Arguments{"demo"},
        Arguments{"--help"}, Arguments{"demo-escapee", "leader", "1"},
        Arguments{}}) {
    Arguments argv = {treekill};
    argv.insert(argv.end(), words.begin(), words.end());
    Outcome outcome = RunAsNobody(argv);
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors, HasSubstr("refuses"));
  }
}

TEST_F(DemoTest, BadInput) {
  for (const Arguments& arguments :
       {Arguments{"--no-such-option"}, Arguments{"--json=1"}, Arguments{"-z"},
        Arguments{"word"}, Arguments{"\x1b[2J\n"}}) {
    SCOPED_TRACE(arguments[0]);
    Outcome outcome = StartDemo(arguments)->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
    EXPECT_THAT(outcome.errors, Not(HasSubstr("\x1b")));
  }
}

TEST_F(DemoTest, Help) {
  for (const char* option : {"--help", "-h"}) {
    Outcome outcome = StartDemo({option})->Wait();
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.output, StartsWith("Usage: treekill demo "));
    EXPECT_EQ(outcome.errors, "");
  }
}

TEST_F(DemoTest, NobodyReadsItsOutput) {
  Outcome outcome = StartHastily({}, [] { close(STDOUT_FILENO); })->Wait();
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

// Where something is missing; the rig sees what is left. Whom treekill cannot
// kill it tries to for half a second.
class OddDemoTest : public OddPlaceFixture,
                    public testing::WithParamInterface<OddPlace> {};

TEST_P(OddDemoTest, TellsTheTruth) {
  const OddPlace& place = GetParam();
  Set(kLimits, "drain:500ms");
  Arguments argv = {ProgramFor(place, TreekillWithFaultsPath()), "demo",
                    "--json"};
  Outcome outcome = Start(In(place, argv))->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  Json json = Json::parse(outcome.output, nullptr,
                          /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object()) << outcome.output;
  EXPECT_EQ(json["left"], Json::array());
  for (const Json& result : json["results"]) {
    std::string method = result["method"];
    if (result["escapee"] == "child") {
      bool tried = method != "scope" &&
                   (method != "cgroup" || place.containment == "cgroup");
      EXPECT_EQ(result["survived"].is_boolean(), tried) << result;
    }
    bool may_live = result["escapee"] == "setuid program";
    if ((method == "subreaper" || method == "cgroup") && !may_live) {
      EXPECT_NE(result["survived"], Json(true)) << result;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Some, OddDemoTest, testing::ValuesIn(OnesOfASort()),
                         NameOfPlace);
INSTANTIATE_TEST_SUITE_P(Thorough, OddDemoTest,
                         testing::ValuesIn(TheOtherOddPlaces()), NameOfPlace);

}  // namespace
}  // namespace treekill::rig
