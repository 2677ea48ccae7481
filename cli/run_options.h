// The options of `treekill run`.
#ifndef TREEKILL_CLI_RUN_OPTIONS_H_
#define TREEKILL_CLI_RUN_OPTIONS_H_

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/treekill.h"

namespace treekill::cli {

extern const char kRunHelp[];

// What becomes of processes that outlive the command, and what is said of them.
enum class LeakChoice { kKill, kWarn, kFail, kWait, kKeep };
enum class GuardianChoice { kYes, kTry, kNo };
enum class JournalChoice { kYes, kNo, kAuto };

// Where --dump-on-timeout writes without a value.
inline constexpr char kDumpToErrors[] = "fd:2";

struct RunCommandLine {
  bool help = false;
  bool verbose = false;
  bool preserve_status = false;
  bool no_new_privileges = false;
  absl::Duration timeout = absl::InfiniteDuration();
  absl::Duration kill_after = absl::Seconds(5);
  int signal = SIGTERM;
  // 0: none.
  int timeout_signal_first = 0;
  KillMode kill_mode = KillMode::kControlGroup;
  Containment containment = Containment::kAuto;
  Containment require = Containment::kAuto;
  GuardianChoice guardian = GuardianChoice::kYes;
  bool die_with_parent = false;
  // Who that must be; 0: whoever it is.
  pid_t parent = 0;
  // -1: none.
  int lifeline = -1;
  JournalChoice journal = JournalChoice::kAuto;
  LeakChoice on_leak = LeakChoice::kKill;
  absl::Duration leak_wait = absl::InfiniteDuration();
  std::vector<std::string> keep;
  std::string name;
  ScopeOptions scope;
  // An option for it was given.
  bool wants_scope = false;
  std::string directory;
  // Empty, a file, or "fd:N".
  std::string report;
  // The same.
  std::string dump;
  std::vector<std::string> command;
};

// Takes the arguments from "run" on. kInvalidArgument, with one line for the
// user, for what makes no sense.
absl::StatusOr<RunCommandLine> ParseRunCommandLine(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_RUN_OPTIONS_H_
