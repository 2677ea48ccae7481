// ps, freeze and exec on a machine that systemd runs.
#include <csignal>

#include "nlohmann/json.hpp"
#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

class LiveRunTest : public ScopeTest {
 protected:
  // A run of that name, and who waits for it; returns when it is alive.
  std::unique_ptr<Program> StartNamed(Who who, const std::string& name,
                                      Arguments options = {}) {
    Arguments arguments = {"--name=" + name};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"--", "sleep", "600"});
    Arguments argv = Treekill(arguments);
    if (who == Who::kUser) argv = InSession(kTester, argv);
    auto program = std::make_unique<Program>(argv);
    EXPECT_TRUE(Eventually([&] {
      Outcome outcome = Ps(Who::kRoot, {"--json", name});
      return outcome.exit_code() == 0 &&
             RunIn(outcome)["command_name"] == "sleep";
    }));
    return program;
  }

  Outcome Ps(Who who, Arguments arguments) const {
    return RunAs(who, Subcommand("ps", std::move(arguments)));
  }

  static json RunIn(const Outcome& outcome) {
    json whole = json::parse(outcome.output, nullptr, false);
    return whole["runs"].size() == 1 ? whole["runs"][0] : json::object();
  }

  void End(const std::string& name) {
    json run = RunIn(Ps(Who::kRoot, {"--json", name}));
    kill(run["supervisor"].get<pid_t>(), SIGTERM);
  }
};

TEST_F(LiveRunTest, WithoutRunsThereAreTitlesOnly) {
  Outcome outcome = Ps(Who::kRoot, {});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(outcome.output,
            "NAME SUPERVISOR HELD BY AGE MEMBERS CPU MEM STATE COMMAND\n");
  EXPECT_EQ(Ps(Who::kRoot, {"--json"}).output,
            "{\"schema_version\":1,\"runs\":[]}\n");
}

class InScope : public LiveRunTest, public testing::WithParamInterface<Who> {};
INSTANTIATE_TEST_SUITE_P(Of, InScope, testing::Values(Who::kRoot, Who::kUser),
                         [](const auto& info) {
                           return info.param == Who::kRoot ? "Root" : "User";
                         });

TEST_P(InScope, TellsOfIt) {
  auto program = StartNamed(GetParam(), "nightly",
                            {"--unit=nightly.scope", "-p", "MemoryMax=100M"});
  json run = RunIn(Ps(Who::kRoot, {"--json", "nightly"}));
  EXPECT_EQ(run["containment"], "scope");
  EXPECT_EQ(run["unit"], "nightly.scope");
  EXPECT_EQ(run["uid"], GetParam() == Who::kRoot ? 0u : kTester.uid);
  EXPECT_EQ(run["state"], "running");
  EXPECT_NE(run["leader"], nullptr);
  // The controller may be of another hierarchy.
  if (!run["memory"].is_null()) {
    EXPECT_GT(run["memory"], 0);
  }
  End("nightly");
  program->Wait();
}

TEST_F(LiveRunTest, ACgroupInADelegatedScopeIsNoScopeOfItsOwn) {
  auto program = std::make_unique<Program>([&] {
    Arguments argv = {"systemd-run", "--scope",      "--quiet",
                      "-p",          "Delegate=yes", "--unit=mine.scope"};
    for (const std::string& word :
         Treekill({"--name=inside", "--", "sleep", "600"})) {
      argv.push_back(word);
    }
    return argv;
  }());
  ASSERT_TRUE(
      Eventually([&] { return Ps(Who::kRoot, {"inside"}).exit_code() == 0; }));
  json run = RunIn(Ps(Who::kRoot, {"--json", "inside"}));
  EXPECT_EQ(run["containment"], "cgroup");
  EXPECT_EQ(run["unit"], "mine.scope");
  End("inside");
  program->Wait();
}

TEST_F(LiveRunTest, AUserHasHisOwnRunsOnly) {
  auto root = StartNamed(Who::kRoot, "roots");
  auto user = StartNamed(Who::kUser, "users");
  EXPECT_THAT(Ps(Who::kUser, {}).output, HasSubstr("roots"));
  for (const char* word : {"freeze", "thaw"}) {
    Outcome outcome = RunAs(Who::kUser, Subcommand(word, {"roots"}));
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_THAT(outcome.errors, HasSubstr("it is user 0's"));
    EXPECT_EQ(RunAs(Who::kUser, Subcommand(word, {"users"})).exit_code(), 0);
  }
  EXPECT_EQ(
      RunAs(Who::kUser, Subcommand("exec", {"roots", "true"})).exit_code(),
      125);
  // Out of a session's scope a user may move nobody.
  Outcome joined = RunAs(Who::kUser, Subcommand("exec", {"users", "true"}));
  EXPECT_EQ(joined.exit_code(), 125) << joined.errors;
  EXPECT_EQ(Run(Subcommand("exec", {"users", "true"})).exit_code(), 0);
  End("roots");
  End("users");
  root->Wait();
  user->Wait();
}

TEST_F(LiveRunTest, AUnitIsDrawnAsATree) {
  Run({"systemd-run", "--quiet", "--unit=web", "sh", "-c",
       "sh -c 'sleep 600; :'; :"});
  std::string text;
  EXPECT_TRUE(Eventually([&] {
    text = Ps(Who::kRoot, {"--unit=web", "--tree"}).output;
    return text.find(" S sleep 600\n") != std::string::npos;
  })) << text;
  EXPECT_THAT(text, StartsWith("web.service\n`-"));
  EXPECT_THAT(text, HasSubstr("\n    `-"));
  EXPECT_EQ(Run(Subcommand("kill", {"--unit=web"})).exit_code(), 0);
  Run({"systemctl", "reset-failed"});
}

}  // namespace
}  // namespace treekill::rig
