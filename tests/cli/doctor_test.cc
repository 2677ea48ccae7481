// treekill doctor: on this machine, and in every place where something is
// missing.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/escapes.h"
#include "tests/cli/odd_choice.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

Json ToJson(const Outcome& outcome) {
  return Json::parse(outcome.output, nullptr, /*allow_exceptions=*/false);
}

// By the containment's name.
Json RungOf(const Json& json, const std::string& containment) {
  for (const Json& rung : json["rungs"]) {
    if (rung["containment"] == containment) return rung;
  }
  ADD_FAILURE() << "no rung " << containment << " in " << json;
  return Json();
}

class DoctorTest : public OddPlaceFixture {
 protected:
  Outcome RunDoctor(Arguments arguments = {}) {
    arguments.insert(arguments.begin(), {TreekillPath(), "doctor"});
    return Start(arguments)->Wait();
  }
};

TEST_F(DoctorTest, IsContentWithACgroup) {
  Outcome outcome = RunDoctor();
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(outcome.output, HasSubstr("is held here by: cgroup.\n"));
  EXPECT_THAT(outcome.output, HasSubstr("\ncgroup       works: "));
  EXPECT_THAT(outcome.output, HasSubstr("\nscope        no: no systemd runs"));
  EXPECT_THAT(outcome.output, HasSubstr("\nsubreaper    works: "));
  EXPECT_THAT(outcome.output, HasSubstr("\nown cgroup   " + OwnCgroup()));
}

TEST_F(DoctorTest, SaysTheSameInJson) {
  Outcome outcome = RunDoctor({"--json"});
  EXPECT_EQ(outcome.exit_code(), 0);
  Json json = ToJson(outcome);
  ASSERT_TRUE(json.is_object()) << outcome.output;
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["best"], "cgroup");
  EXPECT_EQ(json["healthy"], true);
  EXPECT_EQ(RungOf(json, "cgroup")["works"], true);
  EXPECT_EQ(RungOf(json, "cgroup")["reason"], nullptr);
  EXPECT_EQ(RungOf(json, "scope")["works"], false);
  EXPECT_EQ(json["own_cgroup"], OwnCgroup());
  EXPECT_EQ(json["systemd_running"], false);
}

TEST_F(DoctorTest, RefusesWhatItDoesNotKnow) {
  Outcome outcome = RunDoctor({"--jsn"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("--jsn"));
  outcome = RunDoctor({"me"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_EQ(outcome.errors,
            "treekill: doctor takes no arguments, and got 'me'; 'treekill "
            "doctor --help' tells more\n");
}

// Why there is no cgroup to be had, and a part of what would give one.
struct Lacking {
  const char* kind;
  const char* reason;
  const char* fix;
};
constexpr Lacking kNoCgroup[] = {
    {"read-only-cgroupfs", "mkdir: Read-only file system",
     "podman run --security-opt unmask=/sys/fs/cgroup"},
    {"container", "mkdir: Read-only file system", "--privileged"},
    {"container-pid1", "mkdir: Read-only file system", "--privileged"},
    {"no-cgroup2", "no cgroup v2 is mounted", "mount -t cgroup2 none"},
    {"user", "mkdir: Permission denied", "chown -R 65534 "},
    {"threaded", "clone3: Operation not supported", "is threaded"},
    {"max-descendants", "mkdir: Resource temporarily unavailable",
     "cgroup.max.descendants"}};

// What makes it harder, and is not missed otherwise.
struct Harder {
  const char* kind;
  const char* field;
  const char* reason;
};
constexpr Harder kHarder[] = {{"no-clone3-eperm", "no_clone_into_cgroup",
                               "clone3: Operation not permitted"},
                              {"no-clone3-enosys", "no_clone_into_cgroup",
                               "clone3: Function not implemented"},
                              {"no-clone-into-cgroup", "no_clone_into_cgroup",
                               "clone3: Argument list too long"},
                              {"no-pidfd-signal", "no_pidfd_signals",
                               "pidfd_send_signal: Function not implemented"},
                              {"no-pidfd-signal-eperm", "no_pidfd_signals",
                               "pidfd_send_signal: Operation not permitted"}};

class OddDoctorTest : public DoctorTest,
                      public testing::WithParamInterface<OddPlace> {};
class OddRequireTest : public OddDoctorTest {};

TEST_P(OddDoctorTest, NamesTheRungAndTheReason) {
  const OddPlace& place = GetParam();
  Arguments argv = {ProgramFor(place, TreekillPath()), "doctor", "--json"};
  Outcome outcome = Start(In(place, argv))->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_THAT(outcome.errors, IsEmpty());
  bool healthy = place.containment == "cgroup";
  EXPECT_EQ(outcome.exit_code(), healthy ? 0 : 1);
  Json json = ToJson(outcome);
  ASSERT_TRUE(json.is_object()) << outcome.output;
  EXPECT_EQ(json["best"], place.containment);
  EXPECT_EQ(json["healthy"], healthy);
  EXPECT_EQ(RungOf(json, "subreaper")["works"], true);
  Json cgroup = RungOf(json, "cgroup");
  EXPECT_EQ(cgroup["works"], healthy);
  bool is_known = healthy;
  for (const Lacking& lacking : kNoCgroup) {
    if (place.kind != lacking.kind) continue;
    is_known = true;
    EXPECT_THAT(cgroup.value("reason", ""), HasSubstr(lacking.reason));
    EXPECT_THAT(cgroup.value("fix", ""), HasSubstr(lacking.fix));
  }
  EXPECT_TRUE(is_known);
  for (const char* field : {"no_clone_into_cgroup", "no_pidfd_signals"}) {
    Json expected;
    for (const Harder& harder : kHarder) {
      if (place.kind == harder.kind && field == std::string(harder.field)) {
        expected = harder.reason;
      }
    }
    if (expected.is_null()) {
      EXPECT_EQ(json[field], nullptr);
    } else {
      EXPECT_THAT(json.value(field, ""),
                  HasSubstr(expected.get<std::string>()));
    }
  }
}

// Before the command has run; with what would be less than enough, and with
// what is named and weaker.
TEST_P(OddRequireTest, RequireRefusesEachWeakerRung) {
  const OddPlace& place = GetParam();
  if (place.HasOrdinaryUser()) LetOthersIn();
  std::string program = ProgramFor(place, TreekillPath());
  bool weak = place.containment == "subreaper";
  struct Try {
    const char* containment;
    const char* require;
    bool refused;
  };
  const Try tries[] = {{"auto", "scope", true},
                       {"auto", "cgroup", weak},
                       {"auto", "subreaper", false},
                       {"subreaper", "cgroup", true},
                       {"process-group", "subreaper", true},
                       {"process", "process-group", true},
                       {"process", "process", false}};
  for (const Try& one : tries) {
    SCOPED_TRACE(absl::StrCat(one.containment, " ", one.require));
    std::string trace = File("trace");
    Arguments argv = {program,
                      "run",
                      absl::StrCat("--containment=", one.containment),
                      absl::StrCat("--require=", one.require),
                      "touch",
                      trace};
    Outcome outcome = Start(In(place, argv))->Wait();
    TREEKILL_NEEDS_PLACE(outcome);
    EXPECT_EQ(outcome.exit_code(), one.refused ? 125 : 0) << outcome.errors;
    EXPECT_EQ(std::filesystem::exists(trace), !one.refused);
    std::filesystem::remove(trace);
  }
}

INSTANTIATE_TEST_SUITE_P(All, OddDoctorTest, testing::ValuesIn(OddPlaces()),
                         NameOfPlace);
INSTANTIATE_TEST_SUITE_P(Some, OddRequireTest, testing::ValuesIn(OnesOfASort()),
                         NameOfPlace);
INSTANTIATE_TEST_SUITE_P(Thorough, OddRequireTest,
                         testing::ValuesIn(TheOtherOddPlaces()), NameOfPlace);

}  // namespace
}  // namespace treekill::rig
