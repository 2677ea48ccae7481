#include "treekill/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "treekill/kernel/error.h"

namespace treekill {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kReplacement[] = "\xef\xbf\xbd";

Member SomeMember() {
  return Member{
      .pid = 11,
      .parent = 12,
      .process_group = 13,
      .session = 14,
      .start_time = uint64_t{1} << 63,
      .age = absl::Milliseconds(1500),
      .name = "sleep",
      .argv = {"sleep", "60"},
      .uid = 1000,
      .state = 'S',
      .wait_channel = "hrtimer_nanosleep",
      .cgroup = "/treekill-build-1-2",
      .reach = {.process_group = true, .subreaper = true, .cgroup = true},
      .escapes = {Escape::kReparented, Escape::kIgnoresTerm}};
}

TreeReport SomeReport() {
  TreeReport report;
  report.name = "build";
  report.argv = {"make", "-j8"};
  report.containment = Containment::kCgroup;
  report.leaf = "/sys/fs/cgroup/treekill-build-1-2";
  report.leader = 10;
  report.status = ExitStatus::Exited(3);
  report.reason = EndReason::kTimeout;
  report.first_signal = SIGTERM;
  report.killed = true;
  report.leaked_count = 2;
  report.leaked = {SomeMember()};
  report.strays_killed = 4;
  report.drained = true;
  report.errors = {kernel::ErrnoStatus(EIO, "read", "cannot read x")};
  report.started = absl::FromUnixSeconds(1700000000) + absl::Milliseconds(500);
  report.run_time = absl::Milliseconds(1500);
  report.wait_time = absl::Milliseconds(2500);
  report.teardown_time = absl::Milliseconds(250);
  report.user_time = absl::Milliseconds(125);
  report.system_time = absl::Milliseconds(62.5);
  report.max_rss_kib = int64_t{1} << 40;
  return report;
}

json Parsed(const TreeReport& report, int exit_status = 0) {
  std::string text = ReportToJson(report, exit_status);
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  return json::parse(text);
}

std::set<std::string> KeysOf(const json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

TEST(ReportToJson, EveryField) {
  json report = Parsed(SomeReport(), 124);
  EXPECT_EQ(report.at("schema_version"), 1);
  EXPECT_EQ(report.at("exit_status"), 124);
  EXPECT_EQ(report.at("name"), "build");
  EXPECT_EQ(report.at("command"), (json{"make", "-j8"}));
  EXPECT_EQ(report.at("containment"), "cgroup");
  EXPECT_EQ(report.at("leaf"), "/sys/fs/cgroup/treekill-build-1-2");
  EXPECT_EQ(report.at("reason"), "timeout");
  EXPECT_EQ(report.at("on_supervisor_death"), "leave");
  EXPECT_EQ(report.at("guardian_error"), nullptr);
  EXPECT_EQ(report.at("journal_error"), nullptr);
  EXPECT_EQ(report.at("first_signal"), "TERM");
  EXPECT_EQ(report.at("killed"), true);
  EXPECT_EQ(report.at("leaked_count"), 2);
  EXPECT_EQ(report.at("strays_killed"), 4);
  EXPECT_EQ(report.at("drained"), true);
  EXPECT_EQ(report.at("survivors"), json::array());
  EXPECT_EQ(report.at("errors"),
            (json::array({"cannot read x: read: Input/output error"})));
  EXPECT_EQ(report.at("max_rss_kib"), int64_t{1} << 40);
}

TEST(ReportToJson, WhatItsSupervisorsDeathWouldHaveDone) {
  TreeReport report = SomeReport();
  report.on_supervisor_death = OnSupervisorDeath::kKillLeader;
  report.guardian_error = absl::UnavailableError("no more processes");
  EXPECT_EQ(Parsed(report).at("on_supervisor_death"), "kill-leader");
  EXPECT_EQ(Parsed(report).at("guardian_error"), "no more processes");
  report.journal_error = absl::UnavailableError("it is full");
  EXPECT_EQ(Parsed(report).at("journal_error"), "it is full");
  report.on_supervisor_death = OnSupervisorDeath::kKillTree;
  EXPECT_EQ(Parsed(report).at("on_supervisor_death"), "kill-tree");
}

TEST(ReportToJson, WhatHeldItAndWhyNotMore) {
  TreeReport report = SomeReport();
  EXPECT_EQ(Parsed(report).at("containment_error"), nullptr);
  EXPECT_EQ(Parsed(report).at("unit"), nullptr);
  report.containment_error = absl::UnavailableError("no bus");
  report.unit = "build.scope";
  EXPECT_EQ(Parsed(report).at("containment_error"), "no bus");
  EXPECT_EQ(Parsed(report).at("unit"), "build.scope");
}

TEST(ReportToJson, Times) {
  json times = Parsed(SomeReport()).at("times");
  EXPECT_EQ(times.at("started"), 1700000000.5);
  EXPECT_EQ(times.at("run"), 1.5);
  EXPECT_EQ(times.at("wait"), 2.5);
  EXPECT_EQ(times.at("teardown"), 0.25);
  EXPECT_EQ(times.at("user"), 0.125);
  EXPECT_EQ(times.at("system"), 0.0625);
}

TEST(ReportToJson, Members) {
  TreeReport report = SomeReport();
  report.survivors = report.leaked;
  report.survivors[0].wait_channel = "";
  report.members = {SomeMember(), SomeMember()};
  EXPECT_EQ(Parsed(report).at("members").size(), 2u);
  json member = Parsed(report).at("leaked").at(0);
  EXPECT_EQ(member.at("pid"), 11);
  EXPECT_EQ(member.at("parent"), 12);
  EXPECT_EQ(member.at("process_group"), 13);
  EXPECT_EQ(member.at("session"), 14);
  EXPECT_EQ(member.at("start_time"), uint64_t{1} << 63);
  EXPECT_EQ(member.at("name"), "sleep");
  EXPECT_EQ(member.at("state"), "S");
  EXPECT_EQ(member.at("wchan"), "hrtimer_nanosleep");
  EXPECT_EQ(member.at("age"), 1.5);
  EXPECT_EQ(member.at("uid"), 1000);
  EXPECT_EQ(member.at("command"), (json{"sleep", "60"}));
  EXPECT_FALSE(member.contains("command_truncated"));
  EXPECT_EQ(member.at("cgroup"), "/treekill-build-1-2");
  EXPECT_EQ(member.at("reach"), json::parse(R"({"process": false,
      "process_group": true, "parent_death_signal": false, "subreaper": true,
      "cgroup": true})"));
  EXPECT_EQ(member.at("escapes"), (json{"reparented", "ignores-term"}));
  EXPECT_FALSE(Parsed(report).at("survivors").at(0).contains("wchan"));
}

TEST(ReportToJson, WhoIsKeptAndWhere) {
  TreeReport report = SomeReport();
  EXPECT_EQ(Parsed(report).at("kept"), json::array());
  EXPECT_EQ(Parsed(report).at("kept_leaf"), nullptr);
  report.kept = {SomeMember()};
  report.kept_leaf = "/sys/fs/cgroup/treekill-build-1-3";
  EXPECT_EQ(Parsed(report).at("kept").at(0).at("pid"), 11);
  EXPECT_EQ(Parsed(report).at("kept_leaf"),
            "/sys/fs/cgroup/treekill-build-1-3");
}

TEST(ReportToJson, HowTheLeaderEnded) {
  TreeReport report = SomeReport();
  EXPECT_EQ(Parsed(report).at("leader"), json::parse(R"({"pid": 10,
      "exit_code": 3, "signal": null, "core_dumped": false})"));
  report.status = ExitStatus::Signaled(SIGSEGV, /*core_dumped=*/true);
  EXPECT_EQ(Parsed(report).at("leader"), json::parse(R"({"pid": 10,
      "exit_code": null, "signal": "SEGV", "core_dumped": true})"));
  report.status = ExitStatus();
  EXPECT_EQ(Parsed(report).at("leader"), json::parse(R"({"pid": 10,
      "exit_code": null, "signal": null, "core_dumped": false})"));
}

TEST(ReportToJson, WhatIsNotThereIsNull) {
  json report = Parsed(TreeReport());
  EXPECT_TRUE(report.at("leaf").is_null());
  EXPECT_TRUE(report.at("first_signal").is_null());
  EXPECT_EQ(report.at("command"), json::array());
  EXPECT_EQ(report.at("leaked"), json::array());
  EXPECT_EQ(report.at("errors"), json::array());
}

TEST(ReportToJson, HasTheSameFieldsWhateverHappened) {
  EXPECT_EQ(KeysOf(Parsed(TreeReport())), KeysOf(Parsed(SomeReport())));
}

TEST(ReportToJson, BytesThatAreNotUtf8) {
  TreeReport report = SomeReport();
  report.argv = {
      "a\xff"
      "b",
      "\xc3", "gr\xc3\xbcn"};
  report.leaked[0].name = "\xe2\x82";
  report.errors = {absl::InternalError("\xfe")};
  json parsed = Parsed(report);
  EXPECT_EQ(parsed.at("command").at(0), std::string("a") + kReplacement + "b");
  EXPECT_EQ(parsed.at("command").at(1), kReplacement);
  EXPECT_EQ(parsed.at("command").at(2), "gr\xc3\xbcn");
  // Nothing is lost.
  EXPECT_EQ(parsed.at("command_base64"), (json{"Yf9i", "ww==", "Z3LDvG4="}));
  EXPECT_EQ(parsed.at("leaked").at(0).at("name_base64"), "4oI=");
  EXPECT_EQ(parsed.at("leaked").at(0).at("name"), kReplacement);
  EXPECT_EQ(parsed.at("errors").at(0), kReplacement);
}

TEST(ReportToJson, ControlCharactersComeBackAsTheyWere) {
  TreeReport report;
  report.argv = {"\x1b[2J\n\t\"\\\x7f\x01", ""};
  EXPECT_EQ(Parsed(report).at("command").get<std::vector<std::string>>(),
            report.argv);
  EXPECT_FALSE(Parsed(report).contains("command_base64"));
}

// A JSON library may take a list of two strings for a field and its value.
TEST(ReportToJson, CommandsOfAnyLengthAreLists) {
  TreeReport report;
  for (size_t count = 0; count < 5; ++count) {
    report.argv.assign(count, "word");
    EXPECT_TRUE(Parsed(report).at("command").is_array()) << count;
    EXPECT_EQ(Parsed(report).at("command").size(), count);
  }
}

TEST(FailureToJson, SaysWhy) {
  std::string text = FailureToJson(
      kernel::ErrnoStatus(ENOENT, "execve", "cannot run \"x\n\xff\""), 127);
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  json failure = json::parse(text);
  EXPECT_EQ(failure.at("schema_version"), 1);
  EXPECT_EQ(failure.at("exit_status"), 127);
  EXPECT_EQ(failure.at("error"), std::string("cannot run \"x\n") +
                                     kReplacement +
                                     "\": execve: No such file or directory");
  EXPECT_EQ(KeysOf(failure),
            (std::set<std::string>{"schema_version", "exit_status", "error"}));
}

TEST(EndReasonName, Names) {
  EXPECT_STREQ(EndReasonName(EndReason::kLeaderExited), "exit");
  EXPECT_STREQ(EndReasonName(EndReason::kTimeout), "timeout");
  EXPECT_STREQ(EndReasonName(EndReason::kStopped), "stop");
  EXPECT_STREQ(EndReasonName(EndReason::kKilled), "kill");
}

}  // namespace
}  // namespace treekill
