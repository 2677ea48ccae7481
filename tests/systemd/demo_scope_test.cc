// treekill demo where there is a systemd: with scopes as one of its methods.
#include <nlohmann/json.hpp>

#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;

class DemoScopeTest : public ScopeTest,
                      public testing::WithParamInterface<Who> {};

INSTANTIATE_TEST_SUITE_P(Demo, DemoScopeTest,
                         testing::Values(Who::kRoot, Who::kUser),
                         [](const auto& info) {
                           return info.param == Who::kRoot ? "Root" : "User";
                         });

TEST_P(DemoScopeTest, NobodySurvivesCgroupOrScope) {
  Outcome outcome = RunAs(GetParam(), Subcommand("demo", {"--json"}));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  Json json = Json::parse(outcome.output, nullptr,
                          /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object()) << outcome.output;
  EXPECT_EQ(json["left"], Json::array());
  bool root = GetParam() == Who::kRoot;
  for (const Json& result : json["results"]) {
    std::string method = result["method"];
    if (method != "cgroup" && method != "scope") continue;
    // Only root can make a setuid-root program, and nobody has no systemd of
    // its own.
    bool unknown =
        result["escapee"] == "setuid program" && (!root || method == "scope");
    EXPECT_EQ(result["survived"], unknown ? Json(nullptr) : Json(false))
        << result;
  }
}

}  // namespace
}  // namespace treekill::rig
