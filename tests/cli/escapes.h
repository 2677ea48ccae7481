// Every way that processes have of getting away from those who started them,
// as escapee plays it, and how treekill is to run and to end each.
#ifndef TREEKILL_TESTS_CLI_ESCAPES_H_
#define TREEKILL_TESTS_CLI_ESCAPES_H_

#include <gtest/gtest.h>

#include <cctype>
#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"

namespace treekill::rig {

enum class Ending { kExit, kTimeout, kTerm };

struct Escape {
  const char* mode;
  int count = 0;
  // How the leader ends by TERM.
  int exit_code_at_term = -1;
};

inline constexpr Escape kEscapes[] = {
    {"child"},           {"process-group"},  {"setsid"},
    {"double-fork"},     {"daemon"},         {"bare"},
    {"ignore-signals"},  {"stopped"},        {"traced"},
    {"frozen"},          {"nested"},         {"nested-locked"},
    {"vfork"},           {"threads"},        {"clone-parent"},
    {"subreaper"},       {"pid-namespace"},  {"migrate"},
    {"fork-bomb", 200},  {"sleepers", 2000}, {"output-holder"},
    {"term-then-child"}, {"slow-term", 0, 7}};

// For the name of a test: "double-fork" is DoubleFork.
inline std::string CamelCase(const std::string& words) {
  std::string name;
  bool upper = true;
  for (char c : words) {
    if (c != '-') name += upper ? static_cast<char>(toupper(c)) : c;
    upper = c == '-';
  }
  return name;
}

inline std::string EndingName(Ending ending) {
  constexpr const char* kNames[] = {"AtExit", "AtTimeout", "AtTerm"};
  return kNames[static_cast<int>(ending)];
}

// Who plays, and where it tells that its members have got away.
struct Escapee {
  std::string program;
  std::string cookie;
  std::string ready;
};

inline std::vector<std::string> EscapeeCommand(const Escapee& escapee,
                                               const Escape& escape,
                                               Ending ending) {
  std::vector<std::string> command = {
      escapee.program, escape.mode, "--cookie=" + escapee.cookie,
      "--ready=" + escapee.ready,
      ending == Ending::kExit ? "--then=exit" : "--then=stay"};
  if (escape.count > 0) {
    command.push_back(absl::StrCat("--count=", escape.count));
  }
  return command;
}

// `treekill run`, with `options` besides, of that command.
inline std::vector<std::string> RunEscapee(
    const std::string& treekill, const std::vector<std::string>& options,
    const Escapee& escapee, const Escape& escape, Ending ending) {
  std::vector<std::string> argv = {treekill, "run", "-k", "300ms"};
  argv.insert(argv.end(), options.begin(), options.end());
  if (ending == Ending::kTimeout) {
    // Hundreds of processes take their time to start on a busy machine.
    argv.insert(argv.end(), {"--timeout", escape.count > 0 ? "15s" : "3s"});
  }
  for (std::string& word : EscapeeCommand(escapee, escape, ending)) {
    argv.push_back(std::move(word));
  }
  return argv;
}

// Runs `argv` to its end, which TERM brings about if that is the ending.
inline Outcome RunToEnding(std::vector<std::string> argv,
                           std::map<std::string, std::string> environment,
                           const std::string& ready, Ending ending) {
  Program program(std::move(argv), std::move(environment));
  if (ending == Ending::kTerm) {
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(ready); }));
    program.Signal(SIGTERM);
  }
  return program.Wait();
}

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_ESCAPES_H_
