#include "cli/main.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/gc.h"
#include "cli/keeper.h"
#include "cli/output.h"
#include "cli/run.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kHelp[] =
    "Usage: treekill run [OPTION]... [--] COMMAND [ARG]...\n"
    "       treekill gc [OPTION]... [DIRECTORY]\n"
    "       treekill keeper [OPTION]...\n"
    "\n"
    "run: COMMAND in a cgroup of its own; when treekill returns, nothing of\n"
    "it is alive. gc: ends and removes what dead supervisors have left.\n"
    "keeper: owns a cgroup in which treekill may run commands, and does the\n"
    "same all the time; systemd starts it (treekill-keeper.service).\n"
    "\n"
    "  treekill run --help      the options of run, and exit statuses\n"
    "  treekill gc --help       the same of gc\n"
    "  treekill keeper --help   the same of keeper\n"
    "  treekill --version       the version\n";

}  // namespace

int Main(int argc, char** argv) {
  RunIfGuardian(argc, argv);
  std::string word = argc > 1 ? argv[1] : "";
  if (word == "run") return RunMain(argc - 1, argv + 1);
  if (word == "gc") return GcMain(argc - 1, argv + 1);
  if (word == "keeper") return KeeperMain(argc - 1, argv + 1);
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
