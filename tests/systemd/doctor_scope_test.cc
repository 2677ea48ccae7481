// treekill doctor where there is a systemd.
#include <nlohmann/json.hpp>

#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class DoctorScopeTest : public ScopeTest {
 protected:
  Json Diagnose(Who who, int expected, Arguments before = {}) {
    Arguments words = before;
    for (const std::string& word : Subcommand("doctor", {"--json"})) {
      words.push_back(word);
    }
    Outcome outcome = RunAs(who, words);
    EXPECT_EQ(outcome.exit_code(), expected) << outcome.errors;
    Json json = Json::parse(outcome.output, nullptr,
                            /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << outcome.output;
    return json;
  }
};

TEST_F(DoctorScopeTest, AScopeIsTheBestOfWhatIsNotDelegated) {
  for (Who who : {Who::kRoot, Who::kUser}) {
    Json json = Diagnose(who, 0);
    EXPECT_EQ(json["best"], "scope");
    EXPECT_EQ(json["systemd_running"], true);
    EXPECT_EQ(json["delegated"], false);
    EXPECT_THAT(json["rungs"][0].value("reason", ""),
                HasSubstr("has not delegated it"));
    EXPECT_THAT(json["rungs"][0].value("fix", ""), HasSubstr("Delegate=yes"));
  }
}

// As its own advice says.
TEST_F(DoctorScopeTest, ACgroupIsTheBestWhereItIsDelegated) {
  Json json = Diagnose(
      Who::kRoot, 0,
      {"systemd-run", "--quiet", "--scope", "--property", "Delegate=yes"});
  EXPECT_EQ(json["best"], "cgroup");
  EXPECT_EQ(json["delegated"], true);
}

}  // namespace
}  // namespace treekill::rig
