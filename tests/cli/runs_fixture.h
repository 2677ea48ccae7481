// What the tests of ps, wait, freeze, thaw and exec share. Other runs may be
// alive on the machine: each test looks for its own names.
#ifndef TREEKILL_TESTS_CLI_RUNS_FIXTURE_H_
#define TREEKILL_TESTS_CLI_RUNS_FIXTURE_H_

#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/death_fixture.h"

namespace treekill::rig {

class RunsTest : public DeathTest {
 protected:
  // A name that no other run has.
  std::string Name(const std::string& part = "") const {
    return absl::StrCat("r", cookie(), part);
  }

  std::unique_ptr<Program> StartNamed(const std::string& name,
                                      const std::string& script,
                                      Arguments options = {}) {
    options.push_back("--name=" + name);
    return StartScript(script, std::move(options));
  }

  // Waits until the run has so many members, and each has come to where it
  // stays.
  void AwaitRest(const std::string& name, size_t count) {
    EXPECT_TRUE(Eventually([&] {
      std::vector<pid_t> pids = RunOf(name)["pids"];
      return pids.size() == count &&
             std::all_of(pids.begin(), pids.end(), IsAtRest);
    })) << Treekill({"ps", "--tree", name}).output;
  }

  Outcome Treekill(Arguments arguments,
                   std::function<void()> prepare = nullptr) {
    arguments.insert(arguments.begin(), TreekillPath());
    return Start(arguments, std::move(prepare))->Wait();
  }

  // The runs of `treekill ps --json` with these arguments.
  nlohmann::json Runs(Arguments arguments) {
    arguments.insert(arguments.begin(), {"ps", "--json"});
    Outcome outcome = Treekill(std::move(arguments));
    EXPECT_EQ(outcome.errors, "");
    EXPECT_EQ(outcome.exit_code(), 0);
    nlohmann::json json = nlohmann::json::parse(outcome.output, nullptr,
                                                /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << outcome.output;
    EXPECT_EQ(json["schema_version"], 1);
    return json["runs"];
  }

  // The one run of that name.
  nlohmann::json RunOf(const std::string& name, Arguments options = {}) {
    options.push_back(name);
    nlohmann::json runs = Runs(std::move(options));
    EXPECT_EQ(runs.size(), 1u) << runs;
    return runs.size() == 1 ? runs[0] : nlohmann::json::object();
  }

  // What the program writes to a terminal of that width.
  std::string InTerminal(Arguments arguments, unsigned short columns,
                         std::map<std::string, std::string> variables) const {
    std::vector<std::string> words = {"env", "-i"};
    for (const auto& [name, value] : variables) {
      words.push_back(absl::StrCat(name, "=", value));
    }
    words.push_back(TreekillPath());
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    winsize size{
        .ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    int terminal = -1;
    pid_t pid = forkpty(&terminal, nullptr, nullptr, &size);
    if (pid == 0) {
      execvp(argv[0], argv.data());
      _exit(99);
    }
    std::string text;
    char buffer[4096];
    ssize_t count = 0;
    while ((count = read(terminal, buffer, sizeof(buffer))) > 0) {
      text.append(buffer, count);
    }
    close(terminal);
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0) << text;
    return text;
  }
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_RUNS_FIXTURE_H_
