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

using ::testing::AnyOfArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Fewer than in escape_test: how many can be ended is that one's matter.
constexpr int kLineages = 50;
constexpr int kSleepers = 300;

struct OddEscape {
  OddPlace place;
  Escapes escapes;
  Ending ending;
};

std::string Who(const Escapes& escapes) {
  return escapes.size() > 1 ? "all" : escapes[0].mode;
}

void PrintTo(const OddEscape& odd, std::ostream* out) {
  *out << Who(odd.escapes) << " in " << odd.place.kind;
}

// The endings differ in who is told to end, and so once for each way of holding
// and of signalling.
bool EveryEndingMatters(const std::string& kind) {
  return kind == "read-only-cgroupfs" || kind == "container-pid1" ||
         kind == "no-clone3-enosys" || kind == "no-pidfd-signal";
}

// All that are to be had in a place at once; where not every ending matters, at
// exit and at one of the others in turn.
std::vector<OddEscape> Crews() {
  std::vector<OddEscape> all;
  Ending other = Ending::kTimeout;
  for (const OddPlace& place : OddPlaces()) {
    Escapes escapes = EveryEscape();
    std::erase_if(escapes,
                  [&](const Escape& one) { return !place.Has(one.mode); });
    all.push_back({place, escapes, Ending::kExit});
    other = other == Ending::kTimeout ? Ending::kTerm : Ending::kTimeout;
    for (Ending ending : {Ending::kTimeout, Ending::kTerm}) {
      if (ending != other && !EveryEndingMatters(place.kind)) continue;
      all.push_back({place, escapes, ending});
    }
  }
  return all;
}

// Each of them for itself; elsewhere two escapes will do for the other endings.
std::vector<OddEscape> LightOnes() {
  std::vector<OddEscape> all;
  for (const OddPlace& place : OddPlaces()) {
    for (const Escape& escape : kEscapes) {
      std::string mode = escape.mode;
      if (!place.Has(mode)) continue;
      all.push_back({place, {escape}, Ending::kExit});
      if (!EveryEndingMatters(place.kind) && mode != "double-fork" &&
          mode != "ignore-signals") {
        continue;
      }
      all.push_back({place, {escape}, Ending::kTimeout});
      all.push_back({place, {escape}, Ending::kTerm});
    }
  }
  return all;
}

std::vector<OddEscape> HeavyOnes() {
  std::vector<OddEscape> all;
  for (const OddPlace& place : OddPlaces()) {
    for (const Escape& escape : HeavyEscapes(kLineages, kSleepers)) {
      all.push_back({place, {escape}, Ending::kExit});
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
  const auto& [place, escapes, ending] = GetParam();
  Escapee escapee{ProgramFor(place, EscapeePath()), cookie(), ready()};
  Arguments argv =
      RunEscapee(ProgramFor(place, TreekillFor(ending)),
                 {"--report=" + File("report")}, escapee, escapes, ending);
  Outcome outcome =
      RunToEnding(In(place, argv), environment(), ready(), ending);
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_THAT(SurvivorsOf(cookie()), IsEmpty());
  EXPECT_THAT(LeftLeaves(), IsEmpty());
  // The rig sees who is left before it ends them.
  EXPECT_THAT(outcome.errors, Not(HasSubstr("odd_machine: ")));
  EXPECT_TRUE(std::filesystem::exists(ready())) << outcome.errors;
  EXPECT_EQ(Containment(), place.containment) << outcome.errors;
  if (place.containment == "cgroup") {
    EXPECT_EQ(outcome.errors, "");
  }
  // The rig has no other way to say by which signal.
  EXPECT_THAT(outcome.exit_code(), AnyOfArray(StatusesOf(escapes, ending)))
      << outcome.errors;
}

std::string NameOf(const testing::TestParamInfo<OddEscape>& info) {
  const auto& [place, escapes, ending] = info.param;
  return CamelCase(place.kind) + "_" + CamelCase(Who(escapes)) +
         EndingName(ending);
}

INSTANTIATE_TEST_SUITE_P(Crew, OddEscapeTest, testing::ValuesIn(Crews()),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Thorough, OddEscapeTest,
                         testing::ValuesIn(LightOnes()), NameOf);
INSTANTIATE_TEST_SUITE_P(ThoroughAlone, OddEscapeTest,
                         testing::ValuesIn(HeavyOnes()), NameOf);

// What the escapes are not tried with is really not to be had there.
class OddLackTest : public OddPlaceFixture,
                    public testing::WithParamInterface<OddPlace> {};

TEST_P(OddLackTest, IsOne) {
  const OddPlace& place = GetParam();
  for (const Lack& lack : place.lacks) {
    Escapes escapes = {{lack.mode.c_str()}};
    Escapee escapee{ProgramFor(place, EscapeePath()), cookie(), File("ready")};
    Outcome outcome =
        RunProgram(In(place, EscapeeCommand(escapee, escapes, Ending::kExit)),
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
