// Every document that treekill writes is one that its JSON Schema describes, as
// a validator that is not ours finds.
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/escapes.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;

class JsonSchemaTest : public CliTest {
 protected:
  // The validator takes longer to start than to read all of them.
  void TearDown() override {
    if (!documents_.empty()) {
      Arguments argv = {
          absl::StrCat(SourceFolder(), "/tests/rig/validate_json"),
          absl::StrCat(SourceFolder(),
                       "/packaging/schema/treekill-1.schema.json")};
      argv.insert(argv.end(), documents_.begin(), documents_.end());
      Outcome outcome = RunProgram(argv);
      EXPECT_EQ(outcome.exit_code(), 0) << outcome.output << outcome.errors;
    }
    CliTest::TearDown();
  }

  // `text` is a document that $defs/`name` of the schema describes: so says the
  // validator at the end of the test.
  void ExpectValid(const std::string& name, const std::string& text) {
    std::string file = File(absl::StrCat("document", documents_.size()));
    WriteAll(file, text);
    documents_.push_back(absl::StrCat(name, "=", file));
  }

  // What the run with these arguments reports.
  std::string Report(Arguments arguments) {
    arguments.insert(arguments.begin(),
                     {"-k", "200ms", "--report", File("report")});
    StartRun(std::move(arguments))->Wait();
    return Read("report");
  }

  std::string OutputOf(Arguments arguments) {
    arguments.insert(arguments.begin(), TreekillPath());
    return Start(std::move(arguments))->Wait().output;
  }

 private:
  std::vector<std::string> documents_;
};

TEST_F(JsonSchemaTest, ReportsOfEveryEnd) {
  for (const Arguments& arguments : std::vector<Arguments>{
           {"true"},
           {"--name=x", "sh", "-c", "exit 3"},
           {"sh", "-c", "kill -SEGV $$"},
           {"--timeout=200ms", "sleep", "60"},
           {"--on-leak=warn", "bash", "-c", "setsid sleep 60 & exit 0"},
           {"--on-leak=wait=100ms", "bash", "-c", "setsid sleep 60 & exit 0"},
           {"--containment=subreaper", "bash", "-c", "sleep 60 & exit 0"},
           {"--containment=process-group", "bash", "-c", "sleep 60 & exit 0"},
           {"--guardian=no", "true"}}) {
    ExpectValid("report", Report(arguments));
  }
}

TEST_F(JsonSchemaTest, ReportsOfEveryEscape) {
  Escapee escapee{EscapeePath(), cookie(), File("ready")};
  for (const auto& [ending, list] : {std::pair(Ending::kExit, "leaked"),
                                     std::pair(Ending::kTerm, "members")}) {
    RunToEnding(RunEscapee(TreekillPath(), {"--report", File("report")},
                           escapee, EveryEscape(), ending),
                environment(), escapee.ready, ending);
    std::string report = Read("report");
    ExpectValid("report", report);
    for (const Escape& escape : EveryEscape()) {
      std::string cookie_of_mode = absl::StrCat(cookie(), ".", escape.mode);
      EXPECT_THAT(report, testing::HasSubstr(cookie_of_mode + "\"")) << list;
    }
    unlink(escapee.ready.c_str());
  }
}

TEST_F(JsonSchemaTest, ReportOfWhoIsKept) {
  std::string report = Report({"--name=kept", "--on-leak=keep", "bash", "-c",
                               "setsid sleep 60 & exit 0"});
  ExpectValid("report", report);
  EXPECT_FALSE(Json::parse(report)["kept"].empty());
  OutputOf({"kill", "kept"});
}

TEST_F(JsonSchemaTest, ReportsOfWhatCouldNotBeStarted) {
  ExpectValid("failure", Report({"/nonexistent"}));
  ExpectValid("failure", Report({directory()}));
  ExpectValid("failure",
              Report({"--require=scope", "--containment=cgroup", "true"}));
}

// Any bytes, and 2 MiB of them.
TEST_F(JsonSchemaTest, ReportsOfHostileNames) {
  const char* script =
      "import os,signal\n"
      "executed, not_yet = os.pipe()\n"
      "for argv in ([b'\\x1b]0;x\\x07\\n\\xff\\xfe'], [b'\\xc3', b'', "
      "b'\\\"'],\n"
      "             [b'sleeper'] + [b'\\xf0' * 100000] * 20, None):\n"
      "    if os.fork() == 0:\n"
      "        open('/proc/self/comm', 'wb').write(b'\\x1b[2J\\xff\\n')\n"
      "        if argv is None:\n"
      "            os.close(not_yet)\n"
      "            signal.pause()\n"
      "        if len(argv) == 21:\n"
      "            os.execv('/bin/sleep', [b'sleep', b'60'] + argv)\n"
      "        os.execv('/bin/bash', argv + [b'-c', b'sleep 60; true'])\n"
      "os.close(not_yet)\n"
      "os.read(executed, 1)\n";
  std::string report = Report({"python3", "-c", script});
  ExpectValid("report", report);
  EXPECT_EQ(report.find('\033'), std::string::npos);
  EXPECT_LT(report.size(), 200000U);
  // A sleep(1) of words that are no numbers ends at once.
  EXPECT_GE(Json::parse(report)["leaked"].size(), 3U);
  // The command's own arguments are not cut, whatever they are.
  std::string long_word(100000, '\xff');
  report = Report({"true", long_word});
  ExpectValid("report", report);
  EXPECT_EQ(Json::parse(report)["command_base64"][1].get<std::string>().size(),
            133336U);
}

TEST_F(JsonSchemaTest, TheOtherDocuments) {
  ExpectValid("doctor", OutputOf({"doctor", "--json"}));
  std::unique_ptr<Program> run =
      StartRun({"--guardian=no", "sh", "-c", "sleep 60"});
  ASSERT_TRUE(Eventually([&] { return FindByCookie(cookie()).size() == 3; }));
  ExpectValid("runs", OutputOf({"ps", "--json"}));
  ExpectValid("runs", OutputOf({"ps", "--json", "--tree"}));
  run->Signal(SIGKILL);
  run->Wait();
  std::string garbage = OutputOf({"gc", "--json", OwnCgroup()});
  ExpectValid("garbage", garbage);
  EXPECT_EQ(Json::parse(garbage)["leaves"].size(), 1U);
}

// It tries out everything, in some seconds.
class ThoroughJsonSchemaTest : public JsonSchemaTest {};

TEST_F(ThoroughJsonSchemaTest, Demo) {
  ExpectValid("demo", OutputOf({"demo", "--json"}));
}

}  // namespace
}  // namespace treekill::rig
