#include "cli/exec.h"

#include <getopt.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/run_names.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kExecHelp[] =
    "Usage: treekill exec NAME [--] COMMAND [ARG]...\n"
    "\n"
    "Runs COMMAND as a member of the run of that name: it is ended together\n"
    "with it. It is executed in the place of treekill: its terminal, its\n"
    "signals and its exit status are its own.\n"
    "\n";
constexpr char kMoreHelp[] =
    "\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: COMMAND's own; 1 when no run is called NAME; 125 when\n"
    "treekill itself failed, as when NAME means several runs, or one that is\n"
    "held by a subreaper; 126 when COMMAND cannot be executed, 127 when it is\n"
    "not found.\n";

// One that is frozen would freeze us before the command is there.
absl::Status CheckTarget(const std::string& name,
                         const std::vector<LiveRun>& runs) {
  if (runs.size() > 1) {
    std::string ids =
        absl::StrJoin(runs, ", ", [](std::string* out, const LiveRun& run) {
          absl::StrAppend(out, run.info().id);
        });
    return absl::FailedPreconditionError(
        absl::StrCat(Quoted(name), " means ", runs.size(),
                     " runs; name one of them by its id: ", ids));
  }
  if (runs[0].info().state != RunState::kFrozen) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(Quoted(name),
                   " is frozen, and a command in it would be, too; "
                   "'treekill thaw ",
                   name, "' ends that"));
}

int Execute(char** argv) {
  execvp(argv[0], argv);
  int error = errno;
  Message(
      absl::StrCat("cannot execute ", Quoted(argv[0]), ": ", strerror(error)));
  return error == ENOENT ? kNotFound : kCannotExecute;
}

}  // namespace

int ExecMain(int argc, char** argv) {
  constexpr option kOptions[] = {{"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  OptionReader reader(argc, argv, "exec", "+:h", kOptions);
  if (reader.Next()) {
    return PrintToStdout(absl::StrCat(kExecHelp, kNameHelp, kMoreHelp));
  }
  if (!reader.status().ok()) return Fail(reader.status());
  char** words = argv + (argc - reader.rest().size());
  char** command = words;
  if (*command != nullptr) ++command;
  if (*command != nullptr && strcmp(*command, "--") == 0) ++command;
  if (*command == nullptr) {
    Message("nothing to run; usage: treekill exec NAME COMMAND [ARG]...");
    return kOwnFailure;
  }
  const std::string name = words[0];
  NamedRuns named = FindNamedRuns({name});
  if (named.status != 0) return named.status;
  absl::Status joined = CheckTarget(name, named.runs);
  if (joined.ok()) joined = named.runs[0].Join();
  if (!joined.ok()) return FailOfTarget(joined);
  return Execute(command);
}

}  // namespace treekill::cli
