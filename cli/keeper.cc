#include "cli/keeper.h"

#include <getopt.h>
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/duration.h"
#include "cli/gc.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kKeeperHelp[] =
    "Usage: treekill keeper [OPTION]...\n"
    "\n"
    "Owns the cgroup that it is started in, so that every treekill of the "
    "same\n"
    "user may run commands below it without asking systemd, and ends what\n"
    "treekills that were killed leave behind. Runs until it is sent TERM; the\n"
    "commands go on. Started by treekill-keeper.service, or any unit with\n"
    "Delegate=yes.\n"
    "\n"
    "      --sweep-interval=DUR   how often to look for the same in the "
    "cgroups\n"
    "                             of others, as gc does (default 1min)\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0 when it was sent a signal, 125 when treekill itself\n"
    "failed.\n";

enum Option { kSweepInterval = 256 };

constexpr option kOptions[] = {
    {"sweep-interval", required_argument, nullptr, kSweepInterval},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0}};

struct KeeperCommandLine {
  bool help = false;
  KeeperOptions options;
};

absl::StatusOr<KeeperCommandLine> ParseKeeperCommandLine(int argc,
                                                         char** argv) {
  KeeperCommandLine line;
  OptionReader reader(argc, argv, "keeper", "+:h", kOptions);
  while (reader.Next()) {
    if (reader.option() == 'h') {
      line.help = true;
      continue;
    }
    std::optional<absl::Duration> interval = ParseDuration(reader.value());
    if (!interval.has_value() || *interval < absl::Milliseconds(1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid --sweep-interval ", Quoted(reader.value()),
                       ": a duration such as 1min, 30s or inf is wanted"));
    }
    line.options.sweep_interval = *interval;
  }
  if (!reader.status().ok()) return reader.status();
  std::vector<std::string> words = reader.rest();
  if (!words.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("keeper takes no arguments, and got ", Quoted(words[0]),
                     "; 'treekill keeper --help' tells more"));
  }
  return line;
}

absl::Status Serve(Keeper* keeper, Signals* signals) {
  while (signals->TakeEnd() == 0) {
    absl::StatusOr<std::vector<Garbage>> garbage = keeper->Dispatch();
    if (!garbage.ok()) {
      Message(std::string(garbage.status().message()));
    } else {
      for (const Garbage& leaf : *garbage) {
        Message(GarbageToText(leaf, /*dry_run=*/false));
      }
      SayWhatIsLeft(*garbage);
    }
    pollfd fds[] = {{signals->end_fd(), POLLIN, 0}, {keeper->fd(), POLLIN, 0}};
    if (poll(fds, std::size(fds), -1) < 0 && errno != EINTR) {
      return absl::UnavailableError(
          absl::StrCat("cannot wait: poll: ", strerror(errno)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int KeeperMain(int argc, char** argv) {
  absl::StatusOr<KeeperCommandLine> line = ParseKeeperCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) return PrintToStdout(kKeeperHelp);
  Signals signals;
  absl::StatusOr<Keeper> keeper = Keeper::Start(line->options);
  if (!keeper.ok()) return Fail(keeper.status());
  absl::Status served = Serve(&*keeper, &signals);
  return served.ok() ? 0 : Fail(served);
}

}  // namespace treekill::cli
