// How treekill demo shows what it has seen.
#include "cli/demo_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace treekill::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Observation Lives() { return {.survived = true, .reason = ""}; }
Observation Dies() { return {.survived = false, .reason = ""}; }
Observation Unknown(const std::string& reason) {
  return {.survived = std::nullopt, .reason = reason};
}

Matrix Example() {
  return {
      .escapees = {"child", "double fork", "setuid program"},
      .methods = {"process", "parent-death signal", "scope"},
      .rows = {{Lives(), Dies(), Unknown("no systemd")},
               {Lives(), Unknown("no luck"), Unknown("no systemd")},
               {Unknown("no root"), Unknown("no root"), Unknown("no root")}},
      .left = {}};
}

TEST(DemoMatrix, IsAnAlignedTable) {
  EXPECT_THAT(MatrixToText(Example(), /*colours=*/false),
              HasSubstr("\n"
                        "                         parent-\n"
                        "                         death\n"
                        "                process  signal   scope\n"
                        "child           lives    dies     -\n"
                        "double fork     lives    -        -\n"
                        "setuid program  -        -        -\n"
                        "\n"
                        "scope: no systemd\n"
                        "double fork (parent-death signal): no luck\n"
                        "setuid program: no root\n"));
}

TEST(DemoMatrix, FitsIntoEightyColumns) {
  Matrix matrix = {
      .escapees = {"leader's parent SIGKILLed"},
      .methods = {"process", "process-group", "parent-death signal",
                  "subreaper", "cgroup", "scope"},
      .rows = {std::vector<Observation>(6, Lives())},
      .left = {}};
  for (absl::string_view line :
       absl::StrSplit(MatrixToText(matrix, /*colours=*/false), '\n')) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST(DemoMatrix, NamesTogetherWhatHasTheSameReason) {
  Matrix matrix = Example();
  for (Observation& seen : matrix.rows[2]) seen.reason = "no systemd";
  EXPECT_THAT(MatrixToText(matrix, /*colours=*/false),
              HasSubstr("\nscope, setuid program: no systemd\n"));
}

TEST(DemoMatrix, PromisesNothingWhenSomethingIsLeft) {
  Matrix matrix = Example();
  EXPECT_THAT(MatrixToText(matrix, /*colours=*/false), HasSubstr("killed"));
  matrix.left = {"process 12 (treekill)"};
  EXPECT_THAT(MatrixToText(matrix, /*colours=*/false),
              Not(HasSubstr("killed")));
}

TEST(DemoMatrix, ColoursChangeNoColumn) {
  std::string text = MatrixToText(Example(), /*colours=*/true);
  EXPECT_THAT(text, HasSubstr("child           \033[31mlives\033[0m    "
                              "\033[32mdies\033[0m     -\n"));
  for (const char* code : {"\033[31m", "\033[32m", "\033[0m"}) {
    for (size_t at = text.find(code); at != text.npos; at = text.find(code)) {
      text.erase(at, std::string(code).size());
    }
  }
  EXPECT_EQ(text, MatrixToText(Example(), /*colours=*/false));
}

TEST(DemoMatrix, PrintsNoControlCharacters) {
  Matrix matrix = Example();
  matrix.rows[1][1].reason = "\033[2J";
  EXPECT_THAT(MatrixToText(matrix, /*colours=*/false),
              HasSubstr(": \\x1b[2J\n"));
}

TEST(DemoMatrix, Json) {
  Matrix matrix = Example();
  matrix.rows[1][1].reason = "\xff";
  matrix.left = {"cgroup /x"};
  auto json = nlohmann::json::parse(MatrixToJson(matrix));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["escapees"], nlohmann::json(matrix.escapees));
  EXPECT_EQ(json["methods"], nlohmann::json(matrix.methods));
  EXPECT_EQ(json["left"], nlohmann::json(matrix.left));
  ASSERT_EQ(json["results"].size(), 9u);
  EXPECT_EQ(json["results"][1],
            nlohmann::json({{"escapee", "child"},
                            {"method", "parent-death signal"},
                            {"survived", false},
                            {"reason", nullptr}}));
  EXPECT_EQ(json["results"][3]["survived"], true);
  EXPECT_EQ(json["results"][4]["survived"], nullptr);
  EXPECT_EQ(json["results"][4]["reason"], "\xef\xbf\xbd");
}

}  // namespace
}  // namespace treekill::cli
