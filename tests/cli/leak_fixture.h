// What the tests of --on-leak and --keep share.
#ifndef TREEKILL_TESTS_CLI_LEAK_FIXTURE_H_
#define TREEKILL_TESTS_CLI_LEAK_FIXTURE_H_

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {

class LeakTest : public CliTest {
 protected:
  // Whatever a failed test has kept.
  void TearDown() override {
    if (HasFailure()) KillByCookie(cookie());
    CliTest::TearDown();
  }

  // `treekill run` of a shell's script; until_sleep there waits until the last
  // process in the background has come to its program.
  Outcome RunScript(Arguments options, const std::string& script) {
    return StartScript(std::move(options), script)->Wait();
  }

  std::unique_ptr<Program> StartScript(
      Arguments options, const std::string& script,
      std::function<void()> prepare = nullptr) {
    options.insert(
        options.end(),
        {"--report", File("report"), "-k", "300ms", "--", "bash", "-c",
         absl::StrCat("until_sleep() { until [ \"$(cat /proc/$!/comm)\" = "
                      "sleep ]; do :; done; }\n",
                      script)});
    return StartRun(std::move(options), std::move(prepare));
  }

  nlohmann::json Report() const {
    return nlohmann::json::parse(Read("report"));
  }

  // Ends what was kept, as a person would.
  void EndKept(const std::string& name) {
    Outcome outcome = Start({TreekillPath(), "kill", name})->Wait();
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(FindByCookie(cookie()), testing::IsEmpty());
    EXPECT_THAT(LeftLeaves(), testing::IsEmpty());
  }
};

// A daemon that has come to its program.
inline constexpr char kDaemon[] = "setsid sleep 60 & until_sleep; ";
// The same in the command's session.
inline constexpr char kChild[] = "sleep 60 & until_sleep; ";

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_LEAK_FIXTURE_H_
