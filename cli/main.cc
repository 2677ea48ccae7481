#include "cli/main.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/demo.h"
#include "cli/demo_escapee.h"
#include "cli/doctor.h"
#include "cli/exec.h"
#include "cli/freeze.h"
#include "cli/gc.h"
#include "cli/keeper.h"
#include "cli/kill.h"
#include "cli/output.h"
#include "cli/ps.h"
#include "cli/run.h"
#include "cli/wait.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kHelp[] =
    "Usage: treekill SUBCOMMAND [OPTION]...\n"
    "\n"
    "  run [--] COMMAND [ARG]...  runs COMMAND in a cgroup of its own; when\n"
    "                             treekill returns, nothing of it is alive\n"
    "  gc [DIRECTORY]             ends and removes what dead supervisors have\n"
    "                             left\n"
    "  ps [NAME]...               lists the runs that are alive, and with\n"
    "                             --tree their processes\n"
    "  wait NAME...               waits until nothing of a run is alive\n"
    "  kill NAME...               ends runs; with --pid, --pgid, --cgroup or\n"
    "                             --unit processes that others have started\n"
    "  freeze NAME..., thaw       stop every process of a run; let them go on\n"
    "  exec NAME COMMAND [ARG]... runs COMMAND as a member of a run\n"
    "  keeper                     owns a cgroup for run, and does as gc all\n"
    "                             the time; for systemd to start\n"
    "  doctor                     finds out what can hold a command here, why\n"
    "                             not more, and what would give it\n"
    "  demo                       tries out which way to end a command leaves\n"
    "                             whom alive, on this machine\n"
    "\n"
    "treekill SUBCOMMAND --help tells its options and exit statuses, and\n"
    "treekill --version the version.\n";

}  // namespace

int Main(int argc, char** argv) {
  if (IsSetuidProgram()) return DemoSetuidMain(argc, argv);
  RunIfGuardian(argc, argv);
  std::string word = argc > 1 ? argv[1] : "";
  if (word == "run") return RunMain(argc - 1, argv + 1);
  if (word == "gc") return GcMain(argc - 1, argv + 1);
  if (word == "keeper") return KeeperMain(argc - 1, argv + 1);
  if (word == "kill") return KillMain(argc - 1, argv + 1);
  if (word == "ps") return PsMain(argc - 1, argv + 1);
  if (word == "exec") return ExecMain(argc - 1, argv + 1);
  if (word == "freeze") return FreezeMain(argc - 1, argv + 1);
  if (word == "thaw") return ThawMain(argc - 1, argv + 1);
  if (word == "wait") return WaitMain(argc - 1, argv + 1);
  if (word == "demo") return DemoMain(argc - 1, argv + 1);
  if (word == "doctor") return DoctorMain(argc - 1, argv + 1);
  // Hidden: what these two start.
  if (word == "demo-guarded") return DemoGuardedMain(argc - 1, argv + 1);
  if (word == "demo-escapee") return DemoEscapeeMain(argc - 1, argv + 1);
  if (word == "demo-setuid") return DemoSetuidMain(argc, argv);
  if (word == "--help" || word == "-h" || word == "help") {
    return PrintToStdout(kHelp);
  }
  if (word == "--version" || word == "-V") {
    return PrintToStdout("treekill " TREEKILL_VERSION "\n");
  }
  if (word.empty()) {
    Message(
        "no subcommand is given; try 'treekill run COMMAND' or "
        "'treekill --help'");
  } else {
    Message(absl::StrCat("unknown subcommand ", Quoted(word),
                         "; try 'treekill run ", Printable(word),
                         "' or 'treekill --help'"));
  }
  return kOwnFailure;
}

}  // namespace treekill::cli
