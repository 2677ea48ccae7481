// Every document that treekill writes is one that its JSON Schema describes, as
// a validator that is not ours finds.
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/escapes.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using Json = nlohmann::json;

class JsonSchemaTest : public CliTest {
 protected:
  // `text` is a document that $defs/`name` of the schema describes.
  void ExpectValid(const std::string& name, const std::string& text) {
    WriteAll(File("document"), text);
    Outcome outcome = RunProgram(
        {absl::StrCat(SourceFolder(), "/tests/rig/validate_json"),
         absl::StrCat(SourceFolder(),
                      "/packaging/schema/treekill-1.schema.json"),
         name, File("document")});
    EXPECT_EQ(outcome.exit_code(), 0)
        << outcome.output << outcome.errors << text.substr(0, 4000);
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
  for (const Escape& escape : kEscapes) {
    if (escape.count > 100) continue;
    SCOPED_TRACE(escape.mode);
    Escapee escapee{EscapeePath(), cookie(), File("ready")};
    ExpectValid("report",
                Report(EscapeeCommand(escapee, escape, Ending::kExit)));
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
      "import os,sys\n"
      "for argv in ([b'\\x1b]0;x\\x07\\n\\xff\\xfe'], [b'\\xc3', b'', "
      "b'\\\"'],\n"
      "             [b'sleeper'] + [b'\\xf0' * 100000] * 20):\n"
      "    if os.fork() == 0:\n"
      "        open('/proc/self/comm', 'wb').write(b'\\x1b[2J\\xff\\n')\n"
      "        if len(argv) == 21:\n"
      "            os.execv('/bin/sleep', [b'sleep', b'60'] + argv)\n"
      "        os.execv('/bin/bash', argv + [b'-c', b'sleep 60; true'])\n"
      "import time; time.sleep(1)\n";
  std::string report = Report({"python3", "-c", script});
  ExpectValid("report", report);
  EXPECT_EQ(report.find('\033'), std::string::npos);
  EXPECT_LT(report.size(), 200000U);
  // A sleep(1) of words that are no numbers ends at once.
  EXPECT_GE(Json::parse(report)["leaked"].size(), 2U);
  // The command's own arguments are not cut, whatever they are.
  std::string long_word(100000, '\xff');
  report = Report({"true", long_word});
  ExpectValid("report", report);
  EXPECT_EQ(Json::parse(report)["command_base64"][1].get<std::string>().size(),
            133336U);
}

TEST_F(JsonSchemaTest, TheOtherDocuments) {
  ExpectValid("doctor", OutputOf({"doctor", "--json"}));
  ExpectValid("demo", OutputOf({"demo", "--json"}));
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

}  // namespace
}  // namespace treekill::rig
