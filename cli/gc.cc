#include "cli/gc.h"

#include <getopt.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/options.h"
#include "cli/output.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

constexpr char kGcHelp[] =
    "Usage: treekill gc [OPTION]... [DIRECTORY]\n"
    "\n"
    "Ends and removes what dead supervisors have left: the cgroups made by\n"
    "treekill whose treekill, or host of the library, is dead. With\n"
    "DIRECTORY, a cgroup v2 directory, only what is below it.\n"
    "\n"
    "      --dry-run              say what would be done, and do nothing\n"
    "      --json                 say it in JSON\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0 when nothing of it is left, 122 when something survives\n"
    "SIGKILL, 125 when treekill itself failed.\n";

enum Option { kDryRun = 256, kJson };

constexpr option kOptions[] = {{"dry-run", no_argument, nullptr, kDryRun},
                               {"json", no_argument, nullptr, kJson},
                               {"help", no_argument, nullptr, 'h'},
                               {nullptr, 0, nullptr, 0}};

struct GcCommandLine {
  bool help = false;
  bool json = false;
  GarbageOptions options;
};

absl::StatusOr<GcCommandLine> ParseGcCommandLine(int argc, char** argv) {
  GcCommandLine line;
  OptionReader reader(argc, argv, "gc", "+:h", kOptions);
  while (reader.Next()) {
    switch (reader.option()) {
      case kDryRun:
        line.options.dry_run = true;
        break;
      case kJson:
        line.json = true;
        break;
      default:
        line.help = true;
    }
  }
  if (!reader.status().ok()) return reader.status();
  std::vector<std::string> words = reader.rest();
  if (words.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("gc takes one directory at most, and got ", words.size(),
                     "; 'treekill gc --help' tells more"));
  }
  if (!words.empty()) line.options.below = words[0];
  return line;
}

std::string Count(size_t members) {
  return absl::StrCat(members, members == 1 ? " process" : " processes");
}

}  // namespace

std::string GarbageToText(const Garbage& garbage, bool dry_run) {
  std::string text = absl::StrCat(garbage.leaf, ": supervisor ",
                                  garbage.supervisor, " is gone; ");
  size_t count = garbage.members.size();
  std::string who =
      count == 0 ? "" : absl::StrCat(": ", Names(garbage.members));
  if (dry_run) {
    absl::StrAppend(&text, "would kill ", Count(count), " and remove it", who);
  } else if (garbage.removed) {
    absl::StrAppend(&text, "killed ", Count(count), " and removed it", who);
  } else {
    absl::StrAppend(&text, "not removed");
  }
  return Printable(text);
}

int SayWhatIsLeft(const std::vector<Garbage>& garbage) {
  int status = 0;
  for (const Garbage& leaf : garbage) {
    if (leaf.error.ok()) continue;
    Message(std::string(leaf.error.message()));
    if (leaf.survivors.empty()) {
      status = kOwnFailure;
    } else {
      Message(
          absl::StrCat("alive in ", leaf.leaf, ": ", Names(leaf.survivors)));
      if (status == 0) status = kSurvivors;
    }
  }
  return status;
}

namespace {

std::string ToText(const std::vector<Garbage>& garbage, bool dry_run) {
  if (garbage.empty()) return "nothing to collect\n";
  std::string text;
  for (const Garbage& leaf : garbage) {
    absl::StrAppend(&text, GarbageToText(leaf, dry_run), "\n");
  }
  return text;
}

}  // namespace

int GcMain(int argc, char** argv) {
  absl::StatusOr<GcCommandLine> line = ParseGcCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) return PrintToStdout(kGcHelp);
  bool dry_run = line->options.dry_run;
  absl::StatusOr<std::vector<Garbage>> garbage = CollectGarbage(line->options);
  if (!garbage.ok()) return Fail(garbage.status());
  int printed = PrintToStdout(
      line->json ? absl::StrCat(GarbageToJson(*garbage, dry_run), "\n")
                 : ToText(*garbage, dry_run));
  int status = SayWhatIsLeft(*garbage);
  return status != 0 ? status : printed;
}

}  // namespace treekill::cli
