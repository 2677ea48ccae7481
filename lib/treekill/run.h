// Runs one command to its end and takes its output.
#ifndef TREEKILL_RUN_H_
#define TREEKILL_RUN_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "treekill/command.h"
#include "treekill/report.h"
#include "treekill/supervisor.h"
#include "treekill/tree.h"

namespace treekill {

struct RunOptions {
  TreeOptions tree = TreeOptions();
  // Of each stream; what comes after is read and thrown away.
  size_t max_output = size_t{64} << 20;
};

struct RunResult {
  TreeReport report;
  // What the command and all that it started have written.
  std::string output;
  std::string errors;
  // One of the two went beyond RunOptions::max_output.
  bool truncated = false;
};

// Runs `command` under `supervisor` with its standard output and error taken
// (kInvalidArgument if `stdout_` or `stderr_` is set). Blocks until nothing of
// the command is alive, and serves the supervisor's other trees meanwhile: a
// daemon that has kept a pipe open cannot make it hang, because it is dead by
// then. Errors are those of Supervisor::Spawn(); a command that fails is not
// one: see `report.status`.
absl::StatusOr<RunResult> Run(Supervisor& supervisor, const Command& command,
                              const RunOptions& options = RunOptions());

// The same with a Supervisor of its own.
absl::StatusOr<RunResult> Run(const Command& command,
                              const RunOptions& options = RunOptions());

}  // namespace treekill

#endif  // TREEKILL_RUN_H_
