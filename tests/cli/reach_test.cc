// What the report says would reach each process that got away, and how it got
// away: right for every escape of the suite, and in agreement with who lives on
// when each method is really used.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/cli/escapes.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

using Words = std::set<std::string>;

struct ExpectedMember {
  // While the leader lives.
  Words escapes;
  // The methods that hit it.
  Words reach;
  // It is the leader's child, or was left to the adopter by one.
  bool is_orphaned_by_leader = true;

  bool operator<(const ExpectedMember& other) const {
    return std::tie(escapes, reach) < std::tie(other.escapes, other.reach);
  }
  bool operator==(const ExpectedMember& other) const {
    return escapes == other.escapes && reach == other.reach;
  }
};

struct ExpectedEscape {
  Escape escape;
  std::vector<ExpectedMember> members;
};

const Words kAllButTheLeaders = {"process_group", "subreaper", "cgroup"};
const Words kByWhoeverAdopts = {"subreaper", "cgroup"};

const ExpectedMember kPlain = {{}, kAllButTheLeaders};
const ExpectedMember kBelow = {{}, kAllButTheLeaders, false};
const ExpectedMember kInSession = {{"new-session"}, kByWhoeverAdopts};
const ExpectedMember kInSessionBelow = {
    {"new-session"}, kByWhoeverAdopts, false};
const ExpectedMember kDaemon = {{"new-session", "reparented"},
                                kByWhoeverAdopts};
// Its session is its own, but its PID namespace ends with the init of that.
const ExpectedMember kInNamespace = {{"new-session"}, kAllButTheLeaders, false};
const ExpectedMember kMoved = {{"new-session", "migrated"}, {"subreaper"}};
const ExpectedMember kMovedBelow = {
    {"new-session", "migrated"}, {"subreaper"}, false};

const ExpectedEscape kExpected[] = {
    {{"child"}, {kPlain}},
    {{"process-group"}, {{{"new-process-group"}, kByWhoeverAdopts}}},
    {{"setsid"}, {kInSession}},
    {{"double-fork"}, {kDaemon}},
    {{"daemon"}, {kDaemon}},
    {{"bare"}, {kInSession}},
    {{"ignore-signals"}, {{{"new-session", "ignores-term"}, kByWhoeverAdopts}}},
    {{"stopped"}, {kInSession}},
    {{"traced"}, {kInSession, kInSessionBelow}},
    {{"frozen"}, {kPlain}},
    {{"nested"}, {kPlain, kPlain, kPlain}},
    {{"vfork"}, {kPlain}},
    {{"threads"}, {kPlain, kBelow, kBelow, kBelow, kBelow}},
    {{"clone-parent"}, {kPlain}},
    {{"subreaper"}, {kPlain, kInSessionBelow}},
    {{"pid-namespace"}, {kPlain, kBelow, kInNamespace}},
    {{"migrate"}, {kMoved, kMovedBelow}},
    {{"sleepers", 6}, {kInSession, kInSession, kPlain, kPlain, kPlain, kPlain}},
    {{"term-then-child"}, {{{"ignores-term"}, kAllButTheLeaders}}},
    {{"slow-term"}, {kPlain}}};

void PrintTo(const ExpectedEscape& expected, std::ostream* out) {
  *out << expected.escape.mode;
}

void PrintTo(const ExpectedMember& member, std::ostream* out) {
  *out << Json({{"escapes", member.escapes}, {"reach", member.reach}});
}

class ReachFixture : public CliTest {
 protected:
  void TearDown() override {
    // Of a method that leaves some alive.
    KillByCookie(cookie());
    RemoveMadeCgroups();
    CliTest::TearDown();
  }

  // Runs them to the ending, in which only the leader has ended.
  Json RunToReport(const Escapes& escapes, Ending ending,
                   std::vector<std::string> options = {}) {
    std::string report = File("report");
    options.insert(options.end(), {"--report", report, "-k", "0"});
    RunToEnding(RunEscapee(TreekillPath(), options, escapee(), escapes, ending),
                environment(), escapee().ready, ending);
    EXPECT_THAT(SurvivorsOf(cookie()), IsEmpty());
    RemoveMadeCgroups();
    unlink(escapee().ready.c_str());
    return Json::parse(ReadAll(report));
  }

  // The command is ended by that containment alone, and so many live on.
  void ExpectSurvivors(const Escapes& escapes, const std::string& containment,
                       size_t expected) {
    SCOPED_TRACE(containment);
    RunToEnding(
        RunEscapee(TreekillPath(), {"--containment", containment, "-k", "0"},
                   escapee(), escapes, Ending::kTerm),
        environment(), escapee().ready, Ending::kTerm);
    ExpectSurvivors(expected);
    KillByCookie(cookie());
    RemoveMadeCgroups();
    unlink(escapee().ready.c_str());
  }

  // Those that have been sent SIGKILL may need a moment to end.
  void ExpectSurvivors(size_t expected) {
    EXPECT_TRUE(Eventually([&] {
      return FindByCookie(cookie()).size() == expected;
    })) << expected
        << " expected, found:\n"
        << absl::StrJoin(SurvivorsOf(cookie()), "\n");
  }

  // Each method is used for itself, and kills what the report says it would.
  void ExpectAgreement(const Escapes& escapes) {
    Json members = RunToReport(escapes, Ending::kTerm)["members"];
    auto out_of_reach = [&](const char* method) {
      return std::count_if(
          members.begin(), members.end(),
          [&](const Json& member) { return !member["reach"][method]; });
    };
    ExpectSurvivors(escapes, "process", out_of_reach("process"));
    ExpectSurvivors(escapes, "process-group", out_of_reach("process_group"));
    ExpectSurvivors(escapes, "subreaper", out_of_reach("subreaper"));
    // The parent-death signal, and then a bare cgroup.kill.
    Program treekill(RunEscapee(TreekillPath(), {"--guardian=no"}, escapee(),
                                escapes, Ending::kTerm),
                     environment());
    ASSERT_TRUE(Eventually([&] { return !Read("ready").empty(); }));
    std::vector<std::string> leaves = LeftLeaves();
    std::string leaf = *std::min_element(leaves.begin(), leaves.end());
    treekill.Signal(SIGKILL);
    treekill.Wait();
    ExpectSurvivors(out_of_reach("parent_death_signal"));
    WriteAll(leaf + "/cgroup.kill", "1");
    ExpectSurvivors(out_of_reach("cgroup"));
    KillByCookie(cookie());
    EXPECT_EQ(RunProgram({TreekillPath(), "gc", OwnCgroup()}).exit_code(), 0);
  }

  // Those of the modes that nest cgroups, where the command has no leaf of its
  // own.
  static void RemoveMadeCgroups() {
    for (const char* made : {"/a/b/c", "/a/b", "/a", "/frozen"}) {
      std::string path = absl::StrCat(OwnCgroup(), made);
      Eventually([&] { return rmdir(path.c_str()) == 0 || errno == ENOENT; });
    }
  }

  Escapee escapee() const { return {EscapeePath(), cookie(), File("ready")}; }
};

class ReachTest : public ReachFixture,
                  public testing::WithParamInterface<ExpectedEscape> {
 protected:
  Json Report(Ending ending, std::vector<std::string> options = {}) {
    return RunToReport({GetParam().escape}, ending, std::move(options));
  }

  static ExpectedMember Seen(const Json& member) {
    ExpectedMember seen;
    for (const Json& escape : member["escapes"]) {
      seen.escapes.insert(escape.get<std::string>());
    }
    for (const auto& [method, hits] : member["reach"].items()) {
      if (hits.get<bool>()) seen.reach.insert(method);
    }
    return seen;
  }

  // By the report's list `key`, the leader left out.
  static std::vector<ExpectedMember> SeenIn(const Json& report,
                                            const char* key) {
    std::vector<ExpectedMember> seen;
    for (const Json& member : report[key]) {
      if (member["pid"] == report["leader"]["pid"]) continue;
      seen.push_back(Seen(member));
    }
    return seen;
  }

  void ExpectRightWhileTheLeaderLives() {
    Json report = Report(Ending::kTerm);
    std::vector<ExpectedMember> seen = SeenIn(report, "members");
    EXPECT_THAT(seen, UnorderedElementsAreArray(GetParam().members));
    for (const Json& member : report["members"]) {
      if (member["pid"] != report["leader"]["pid"]) continue;
      EXPECT_EQ(Seen(member).reach,
                Words({"process", "process_group", "parent_death_signal",
                       "subreaper", "cgroup"}));
      EXPECT_EQ(Seen(member).escapes, Words());
    }
  }

  void ExpectRightWhenTheLeaderHasEnded() {
    std::vector<ExpectedMember> expected = GetParam().members;
    for (ExpectedMember& member : expected) {
      if (member.is_orphaned_by_leader) member.escapes.insert("reparented");
    }
    std::vector<ExpectedMember> seen = SeenIn(Report(Ending::kExit), "leaked");
    EXPECT_THAT(seen, UnorderedElementsAreArray(expected));
  }

  void ExpectTheSameBelowASubreaperButForTheCgroup() {
    // Where nothing is below a cgroup of its own, nobody has left it.
    std::vector<ExpectedMember> expected = GetParam().members;
    for (ExpectedMember& member : expected) {
      member.reach.erase("cgroup");
      member.escapes.erase("migrated");
    }
    std::vector<ExpectedMember> seen =
        SeenIn(Report(Ending::kTerm, {"--containment=subreaper"}), "members");
    EXPECT_THAT(seen, UnorderedElementsAreArray(expected));
  }
};

TEST_P(ReachTest, IsRight) {
  {
    SCOPED_TRACE("the leader lives");
    ExpectRightWhileTheLeaderLives();
  }
  {
    SCOPED_TRACE("the leader has ended");
    ExpectRightWhenTheLeaderHasEnded();
  }
  SCOPED_TRACE("below a subreaper");
  ExpectTheSameBelowASubreaperButForTheCgroup();
}

std::string NameOf(const testing::TestParamInfo<ExpectedEscape>& info) {
  return CamelCase(info.param.escape.mode);
}

INSTANTIATE_TEST_SUITE_P(Escapes, ReachTest, testing::ValuesIn(kExpected),
                         NameOf);

class ReachSurvivorsTest : public ReachFixture {};

TEST_F(ReachSurvivorsTest, AreThoseOfTheReport) {
  Escapes all;
  for (const ExpectedEscape& expected : kExpected) {
    all.push_back(expected.escape);
  }
  ExpectAgreement(all);
}

class ReachSurvivorsOfOneTest
    : public ReachFixture,
      public testing::WithParamInterface<ExpectedEscape> {};

TEST_P(ReachSurvivorsOfOneTest, AreThoseOfTheReport) {
  ExpectAgreement({GetParam().escape});
}

INSTANTIATE_TEST_SUITE_P(Thorough, ReachSurvivorsOfOneTest,
                         testing::ValuesIn(kExpected), NameOf);

class ReachOfOneTest : public CliTest {};

TEST_F(ReachOfOneTest, HolderOfTheOutputIsNamed) {
  std::string script = absl::StrCat(
      "'", TreekillPath(), "' run --on-leak=warn --report='", File("report"),
      "' '", EscapeePath(), "' output-holder --cookie=", cookie(), " | cat");
  Outcome outcome = RunProgram({"bash", "-c", script}, environment());
  Json leaked = Json::parse(Read("report"))["leaked"];
  ASSERT_EQ(leaked.size(), 1U);
  EXPECT_EQ(leaked[0]["escapes"],
            Json({"new-session", "reparented", "holds-stdout"}));
  EXPECT_THAT(outcome.errors,
              testing::HasSubstr(": new-session, reparented, holds-stdout\n"));
}

TEST_F(ReachOfOneTest, EveryMemberOfAForkBombIsReached) {
  Escapee escapee{EscapeePath(), cookie(), File("ready")};
  RunToEnding(RunEscapee(TreekillPath(), {"--report", File("report")}, escapee,
                         {{"fork-bomb", 20, -1, true}}, Ending::kTerm),
              environment(), escapee.ready, Ending::kTerm);
  Json members = Json::parse(Read("report"))["members"];
  // Most that are listed have ended when their turn comes.
  EXPECT_GE(members.size(), 1U);
  for (const Json& member : members) {
    EXPECT_TRUE(member["reach"]["subreaper"]) << member;
    EXPECT_TRUE(member["reach"]["cgroup"]) << member;
  }
}

// The demo's escapees, by the names of their rows.
struct DemoRow {
  const char* name;
  const char* mode;
  bool moves = false;
};

constexpr DemoRow kDemoRows[] = {{"the command itself", "leader"},
                                 {"child", "child"},
                                 {"grandchild", "grandchild"},
                                 {"setsid", "setsid"},
                                 {"double fork", "double-fork"},
                                 {"ignores TERM", "ignore-term"},
                                 {"daemon in a nested cgroup", "nested"},
                                 {"daemon in another cgroup", "move", true}};

class ThoroughReachTest : public CliTest {};

// What `treekill demo` prints, and what the report says of the same escapee.
TEST_F(ThoroughReachTest, AgreesWithTheDemo) {
  Json demo =
      Json::parse(Start({TreekillPath(), "demo", "--json"})->Wait().output);
  std::map<std::pair<std::string, std::string>, Json> survived;
  for (const Json& cell : demo["results"]) {
    survived[{cell["escapee"], cell["method"]}] = cell["survived"];
  }
  std::string elsewhere = absl::StrCat(OwnCgroup(), "/elsewhere");
  ASSERT_EQ(mkdir(elsewhere.c_str(), 0755), 0);
  for (const DemoRow& row : kDemoRows) {
    SCOPED_TRACE(row.name);
    unlink(File("pid").c_str());
    std::unique_ptr<Program> run = StartRun(
        {"-k", "0", "--report", File("report"), "--", "sh", "-c",
         absl::StrCat("exec '", TreekillPath(), "' demo-escapee ", row.mode,
                      " 9 ", row.moves ? elsewhere : "", " 9>", File("pid"))});
    pid_t pid = 0;
    ASSERT_TRUE(
        Eventually([&] { return absl::StrContains(Read("pid"), "\n"); }));
    ASSERT_EQ(sscanf(Read("pid").c_str(), "%d", &pid), 1) << Read("pid");
    run->Signal(SIGTERM);
    run->Wait();
    Json members = Json::parse(Read("report"))["members"];
    auto found =
        std::find_if(members.begin(), members.end(),
                     [&](const Json& member) { return member["pid"] == pid; });
    ASSERT_NE(found, members.end());
    const Json& reach = (*found)["reach"];
    auto is_hit = [&](const char* method) { return reach[method] == true; };
    EXPECT_EQ((survived[{row.name, "process"}]), !is_hit("process"));
    EXPECT_EQ((survived[{row.name, "process-group"}]),
              !is_hit("process_group"));
    EXPECT_EQ((survived[{row.name, "parent-death signal"}]),
              !is_hit("parent_death_signal"));
    EXPECT_EQ((survived[{row.name, "subreaper"}]), !is_hit("subreaper"));
    // With a cgroup treekill is a subreaper as well.
    EXPECT_EQ((survived[{row.name, "cgroup"}]),
              !is_hit("cgroup") && !is_hit("subreaper"));
  }
  EXPECT_TRUE(Eventually([&] { return rmdir(elsewhere.c_str()) == 0; }));
}

}  // namespace
}  // namespace treekill::rig
