// The escapes of escape_test in places where the usual containment is missing
// or odd: treekill holds on by what there is, and leaves nobody all the same.
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "tests/cli/escapes.h"
#include "tests/cli/odd_places.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Fewer than in escape_test: how many it takes is that one's matter.
constexpr int kLineages = 50;
constexpr int kSleepers = 300;

struct OddEscape {
  OddPlace place;
  Escape escape;
  Ending ending;
};

void PrintTo(const OddEscape& odd, std::ostream* out) {
  *out << odd.escape.mode << " in " << odd.place.kind;
}

// The endings differ in who is told to end, and so once for each way of holding
// and of signalling; elsewhere two escapes will do.
bool EveryEndingMatters(const std::string& kind, const std::string& mode) {
  return kind == "read-only-cgroupfs" || kind == "container-pid1" ||
         kind == "no-clone3-enosys" || kind == "no-pidfd-signal" ||
         mode == "double-fork" || mode == "ignore-signals";
}

bool IsHeavy(const Escape& escape) { return escape.count > 0; }

std::vector<OddEscape> OddEscapes(bool heavy) {
  std::vector<OddEscape> all;
  for (const OddPlace& place : OddPlaces()) {
    for (Escape escape : kEscapes) {
      if (IsHeavy(escape) != heavy || !place.Has(escape.mode)) continue;
      if (heavy) {
        bool bomb = std::string(escape.mode) == "fork-bomb";
        escape.count = bomb ? kLineages : kSleepers;
      }
      all.push_back({place, escape, Ending::kExit});
      if (heavy || !EveryEndingMatters(place.kind, escape.mode)) continue;
      all.push_back({place, escape, Ending::kTimeout});
      all.push_back({place, escape, Ending::kTerm});
    }
  }
  return all;
}

class OddEscapeTest : public OddPlaceFixture,
                      public testing::WithParamInterface<OddEscape> {
 protected:
  std::string Containment() const {
    using Json = nlohmann::json;
    Json report = Json::parse(Read("report"), nullptr,
                              /*allow_exceptions=*/false);
    return report.is_object() ? report.value("containment", "") : "no report";
  }

  std::string ready() const { return File("ready"); }
};

TEST_P(OddEscapeTest, LeavesNobody) {
  const auto& [place, escape, ending] = GetParam();
  Escapee escapee{ProgramFor(place, EscapeePath()), cookie(), ready()};
  Arguments argv =
      RunEscapee(ProgramFor(place, TreekillPath()),
                 {"--report=" + File("report")}, escapee, escape, ending);
  Outcome outcome =
      RunToEnding(In(place, argv), environment(), ready(), ending);
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_THAT(LeftLeaves(), IsEmpty());
  // The rig sees who is left before it ends them.
  EXPECT_THAT(outcome.errors, Not(HasSubstr("odd_machine: ")));
  EXPECT_TRUE(std::filesystem::exists(ready())) << outcome.errors;
  EXPECT_EQ(Containment(), place.containment) << outcome.errors;
  if (place.containment == "cgroup") {
    EXPECT_EQ(outcome.errors, "");
  }
  int by_term = escape.exit_code_at_term;
  switch (ending) {
    case Ending::kExit:
      EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
      break;
    case Ending::kTimeout:
      EXPECT_EQ(outcome.exit_code(), 124) << outcome.errors;
      break;
    case Ending::kTerm:
      // The rig has no other way to say by which signal.
      EXPECT_EQ(outcome.exit_code(), by_term < 0 ? 128 + SIGTERM : by_term)
          << outcome.errors;
      break;
  }
}

std::string NameOf(const testing::TestParamInfo<OddEscape>& info) {
  const auto& [place, escape, ending] = info.param;
  return CamelCase(place.kind) + "_" + CamelCase(escape.mode) +
         EndingName(ending);
}

INSTANTIATE_TEST_SUITE_P(Light, OddEscapeTest,
                         testing::ValuesIn(OddEscapes(/*heavy=*/false)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Heavy, OddEscapeTest,
                         testing::ValuesIn(OddEscapes(/*heavy=*/true)), NameOf);

// What the escapes are not tried with is really not to be had there.
class OddLackTest : public OddPlaceFixture,
                    public testing::WithParamInterface<OddPlace> {};

TEST_P(OddLackTest, IsOne) {
  const OddPlace& place = GetParam();
  for (const Lack& lack : place.lacks) {
    Escape escape{lack.mode.c_str()};
    Escapee escapee{ProgramFor(place, EscapeePath()), cookie(), File("ready")};
    Outcome outcome =
        RunProgram(In(place, EscapeeCommand(escapee, escape, Ending::kExit)),
                   environment());
    TREEKILL_NEEDS_PLACE(outcome);
    EXPECT_THAT(outcome.errors, HasSubstr("escapee: " + lack.mode + ": "));
    EXPECT_THAT(outcome.errors, HasSubstr(lack.reason));
    EXPECT_FALSE(std::filesystem::exists(File("ready"))) << lack.mode;
  }
}

std::vector<OddPlace> PlacesWithLacks() {
  std::vector<OddPlace> places;
  for (const OddPlace& place : OddPlaces()) {
    if (!place.lacks.empty()) places.push_back(place);
  }
  return places;
}

INSTANTIATE_TEST_SUITE_P(All, OddLackTest, testing::ValuesIn(PlacesWithLacks()),
                         [](const testing::TestParamInfo<OddPlace>& info) {
                           return CamelCase(info.param.kind);
                         });

}  // namespace
}  // namespace treekill::rig
