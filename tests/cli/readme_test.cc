// What README shows is what there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;

TEST(Readme, ShowsTheExampleThatIsCompiled) {
  std::string readme = ReadAll(absl::StrCat(SourceFolder(), "/README.md"));
  std::string example =
      ReadAll(absl::StrCat(SourceFolder(), "/tests/rig/readme_example.cc"));
  ASSERT_FALSE(example.empty());
  EXPECT_THAT(readme, HasSubstr(absl::StrCat("```cpp\n", example, "```\n")));
}

TEST(Readme, ShowsWhatTheExamplePrints) {
  TREEKILL_NEEDS_CGROUP();
  std::string readme = ReadAll(absl::StrCat(SourceFolder(), "/README.md"));
  Outcome outcome = RunProgram({ReadmeExamplePath()});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(outcome.output,
            "built\nexit code 3, 1 process leaked, nothing is left\n");
  EXPECT_THAT(readme,
              HasSubstr(absl::StrCat("```\n", outcome.output, "```\n")));
}

TEST(Readme, ShowsTheHelpOfRun) {
  std::string readme = ReadAll(absl::StrCat(SourceFolder(), "/README.md"));
  Outcome outcome = RunTreekill({"--help"});
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(readme,
              HasSubstr(absl::StrCat("```\n", outcome.output, "```\n")));
}

}  // namespace
}  // namespace treekill::rig
