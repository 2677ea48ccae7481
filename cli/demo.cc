#include "cli/demo.h"

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/demo_experiment.h"
#include "cli/demo_matrix.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/signals.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kDemoHelp[] =
    "Usage: treekill demo [OPTION]...\n"
    "\n"
    "Tries out who gets away: starts processes that do what daemons do, ends\n"
    "the command that has started them in one way after the other, and shows\n"
    "who was dead then and who lived on. Takes some seconds, and leaves\n"
    "nothing behind.\n"
    "\n"
    "process, process-group, cgroup and so on are 'treekill run' with that\n"
    "--containment, sent TERM, and SIGKILL a moment later; parent-death "
    "signal\n"
    "is PR_SET_PDEATHSIG of the command, and SIGKILL to its parent. In the "
    "row\n"
    "of the SIGKILLed parent treekill itself is killed, too.\n"
    "\n"
    "      --json                 in JSON\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0 when it was all tried and nothing is left of it, 122 when\n"
    "something survives SIGKILL, 125 when treekill itself failed.\n";

// The strongest to be had. Less than a cgroup is what the table is to show, and
// no reason for a message.
std::string GuardingContainment() {
  HostInfo host = ProbeHost();
  return host.cgroup.ok() || host.systemd_running ? "auto" : "subreaper";
}

bool WantsColours() {
  const char* no_color = getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == 0);
}

}  // namespace

// The demo is the command of a `treekill run`, for three reasons. Whatever ends
// the demo, SIGKILL included, ends its escapees and removes their cgroups. It
// is a new process, whose children are all its own, so that it may kill any of
// them. And where systemd manages cgroups it is in one that was delegated to
// it, in which escapees can make and change theirs also as an ordinary user.
int DemoMain(int argc, char** argv) {
  absl::StatusOr<JsonCommandLine> line =
      ParseJsonCommandLine(argc, argv, "demo");
  if (!line.ok()) return Fail(line.status());
  if (line->help) return PrintToStdout(kDemoHelp);
  std::string containment =
      absl::StrCat("--containment=", GuardingContainment());
  std::vector<std::string> words = {"run", "--name=demo", "--journal=no",
                                    // The demo takes its time to clean up.
                                    "--kill-after=1min", containment, "--",
                                    "/proc/self/exe", "demo-guarded"};
  if (line->json) words.push_back("--json");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  return RunMain(count, arguments.data());
}

int DemoGuardedMain(int argc, char** argv) {
  absl::StatusOr<JsonCommandLine> line =
      ParseJsonCommandLine(argc, argv, "demo");
  if (!line.ok()) return Fail(line.status());
  Experiment experiment;
  absl::Status performed = experiment.Perform();
  Matrix matrix = experiment.Seen();
  matrix.left = experiment.Clean();
  for (const std::string& left : matrix.left) {
    Message(absl::StrCat("left behind: ", left));
  }
  int status = matrix.left.empty() ? 0 : kSurvivors;
  if (experiment.ended_by() != 0) DieBySignal(experiment.ended_by());
  if (!performed.ok()) return Fail(performed);
  int printed =
      PrintToStdout(line->json ? absl::StrCat(MatrixToJson(matrix), "\n")
                               : MatrixToText(matrix, WantsColours()));
  return status != 0 ? status : printed;
}

}  // namespace treekill::cli
