// Every way that processes have of getting away from those who started them,
// as escapee plays it, and how treekill is to run and to end each.
#ifndef TREEKILL_TESTS_CLI_ESCAPES_H_
#define TREEKILL_TESTS_CLI_ESCAPES_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/rig/rig.h"

namespace treekill::rig {

enum class Ending { kExit, kTimeout, kTerm };

inline constexpr Ending kEndings[] = {Ending::kExit, Ending::kTimeout,
                                      Ending::kTerm};

struct Escape {
  const char* mode;
  int count = 0;
  // How the leader ends by TERM.
  int exit_code_at_term = -1;
  // Some of its members do not end by TERM.
  bool needs_kill = false;
};

inline void PrintTo(const Escape& escape, std::ostream* out) {
  *out << escape.mode;
}

// One is the leader of the tree. More are a crew, which leads all of them.
using Escapes = std::vector<Escape>;

// Those of a few processes each.
inline constexpr Escape kEscapes[] = {
    {"child"},
    {"process-group"},
    {"setsid"},
    {"double-fork"},
    {"daemon"},
    {"bare"},
    {"ignore-signals", 0, -1, true},
    {"stopped"},
    {"traced"},
    // Stopped by a subreaper, it may miss TERM.
    {"frozen", 0, -1, true},
    {"nested"},
    {"nested-locked"},
    {"vfork"},
    {"threads"},
    {"clone-parent"},
    {"subreaper"},
    {"pid-namespace", 0, -1, true},
    {"migrate"},
    {"output-holder"},
    {"term-then-child", 0, -1, true},
    {"slow-term", 0, 7}};

inline Escapes HeavyEscapes(int lineages, int sleepers) {
  return {{"fork-bomb", lineages, -1, true}, {"sleepers", sleepers}};
}

inline bool NeedKill(const Escapes& escapes) {
  return std::any_of(escapes.begin(), escapes.end(),
                     [](const Escape& escape) { return escape.needs_kill; });
}

// What a shell says of how `treekill run` of these may end.
inline std::vector<int> StatusesOf(const Escapes& escapes, Ending ending) {
  if (ending == Ending::kExit) return {0};
  int by_term = escapes.size() > 1 ? -1 : escapes[0].exit_code_at_term;
  int status = by_term < 0 ? 128 + SIGTERM : by_term;
  std::vector<int> statuses = {ending == Ending::kTimeout ? 124 : status};
  // The grace is short, and may be over on a busy machine before the leader
  // has been sent TERM.
  if (NeedKill(escapes)) statuses.push_back(128 + SIGKILL);
  return statuses;
}

// So few of the heavy ones that they leave a processor to others.
inline Escapes EveryEscape() {
  Escapes all = HeavyEscapes(10, 30);
  all.insert(all.begin(), std::begin(kEscapes), std::end(kEscapes));
  return all;
}

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
                                               const Escapes& escapes,
                                               Ending ending) {
  bool is_crew = escapes.size() > 1;
  std::vector<std::string> command = {
      escapee.program, is_crew ? "crew" : escapes.front().mode,
      "--cookie=" + escapee.cookie, "--ready=" + escapee.ready,
      ending == Ending::kExit ? "--then=exit" : "--then=stay"};
  if (is_crew) {
    auto add = [](std::string* text, const Escape& escape) {
      absl::StrAppend(text, escape.mode);
      if (escape.count > 0) absl::StrAppend(text, ":", escape.count);
    };
    command.push_back("--modes=" + absl::StrJoin(escapes, ",", add));
  } else if (escapes.front().count > 0) {
    command.push_back(absl::StrCat("--count=", escapes.front().count));
  }
  return command;
}

// Which treekill: at a timeout one whose clock leaps, see RunToEnding().
inline std::string TreekillFor(Ending ending) {
  return ending == Ending::kTimeout ? TreekillWithFaultsPath() : TreekillPath();
}

// `treekill run`, with `options` besides, of that command.
inline std::vector<std::string> RunEscapee(
    const std::string& treekill, const std::vector<std::string>& options,
    const Escapee& escapee, const Escapes& escapes, Ending ending) {
  // It ends early when no process is left.
  const char* grace = NeedKill(escapes) ? "100ms" : "60s";
  std::vector<std::string> argv = {treekill, "run", "-k", grace};
  argv.insert(argv.end(), options.begin(), options.end());
  if (ending == Ending::kTimeout) argv.push_back("--timeout=1h");
  for (std::string& word : EscapeeCommand(escapee, escapes, ending)) {
    argv.push_back(std::move(word));
  }
  return argv;
}

// Runs `argv` to its end. What ends it comes when all have got away, however
// long that takes: a timeout by the clock's leap, TERM from here.
inline Outcome RunToEnding(std::vector<std::string> argv,
                           std::map<std::string, std::string> environment,
                           const std::string& ready, Ending ending,
                           std::function<void()> prepare = nullptr) {
  if (ending == Ending::kTimeout) environment["TREEKILL_LEAP"] = ready;
  Program program(std::move(argv), std::move(environment), std::move(prepare));
  if (ending == Ending::kTerm) {
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(ready); }));
    program.Signal(SIGTERM);
  }
  return program.Wait();
}

// Everybody alive with that cookie, by PID and command line: the latter has the
// mode that each is of.
inline std::vector<std::string> SurvivorsOf(const std::string& cookie) {
  std::vector<std::string> survivors;
  for (pid_t pid : FindByCookie(cookie)) {
    std::string line = ReadAll(absl::StrCat("/proc/", pid, "/cmdline"));
    std::replace(line.begin(), line.end(), '\0', ' ');
    survivors.push_back(absl::StrCat(pid, " ", line));
  }
  return survivors;
}

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_ESCAPES_H_
