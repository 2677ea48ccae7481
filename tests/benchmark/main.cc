// treekill_benchmark [--quick] [--rounds=N] [--tree-rounds=N] [--items=LIST]
//                    [--json=FILE] [--strict]
//
// Exit status: 0; 1 when something was wrong or left over, or, with --strict,
// when a target was missed; 2 for a wrong command line; 77 where no cgroup can
// be made. That the machine is slow is no failure.
#include <getopt.h>

#include <cstdio>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/items.h"
#include "tests/rig/rig.h"

namespace treekill::bench {
namespace {

constexpr char kUsage[] =
    "Usage: treekill_benchmark [OPTION]...\n"
    "  --quick          few rounds, to see that it works\n"
    "  --rounds=N       pairs of short commands (1000)\n"
    "  --tree-rounds=N  pairs of big trees (15)\n"
    "  --items=LIST     some of them, such as 125 (123457); 6 needs systemd:\n"
    "                   tests/rig/systemd_machine treekill_benchmark "
    "--items=6\n"
    "  --json=FILE      write the results there as well\n"
    "  --strict         fail when a target is missed\n";

struct Options {
  Sizes sizes;
  std::string items = "123457";
  std::string json;
  bool strict = false;
};

bool ParseCount(const char* text, int* count) {
  return absl::SimpleAtoi(text, count) && *count > 0;
}

bool Parse(int argc, char** argv, Options* options) {
  const option known[] = {{"quick", no_argument, nullptr, 'q'},
                          {"rounds", required_argument, nullptr, 'r'},
                          {"tree-rounds", required_argument, nullptr, 't'},
                          {"items", required_argument, nullptr, 'i'},
                          {"json", required_argument, nullptr, 'j'},
                          {"strict", no_argument, nullptr, 's'},
                          {}};
  for (;;) {
    switch (getopt_long(argc, argv, "", known, nullptr)) {
      case -1:
        return optind == argc;
      case 'q':
        options->sizes = kQuick;
        break;
      case 'r':
        if (!ParseCount(optarg, &options->sizes.rounds)) return false;
        break;
      case 't':
        if (!ParseCount(optarg, &options->sizes.tree_rounds)) return false;
        break;
      case 'i':
        options->items = optarg;
        break;
      case 'j':
        options->json = optarg;
        break;
      case 's':
        options->strict = true;
        break;
      default:
        return false;
    }
  }
}

int CountFds() { return static_cast<int>(rig::OpenFds().size()); }

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    fputs(kUsage, stderr);
    return 2;
  }
  std::string reason = rig::WhyNoCgroup();
  if (!reason.empty()) {
    fprintf(stderr, "no cgroup, no benchmark: %s\n", reason.c_str());
    return rig::CgroupIsRequired() ? 1 : 77;
  }
  StopOnSignals();
  int fds = CountFds();
  Results results;
  const struct {
    char number;
    void (*measure)(const Sizes&, Results&);
  } items[] = {{'1', MeasureCommandLine}, {'2', MeasureLibrary},
               {'3', MeasureBigTree},     {'4', MeasureIdle},
               {'5', MeasureMany},        {'6', MeasureCompanion},
               {'7', MeasureListing}};
  for (const auto& item : items) {
    bool wanted = options.items.find(item.number) != std::string::npos;
    if (wanted && !Stopped()) item.measure(options.sizes, results);
  }
  int leaves = LeavesLeft();
  int more_fds = CountFds() - fds;
  results.Check(0, "nothing is left of the whole run",
                leaves == 0 && more_fds == 0,
                absl::StrCat(leaves, " cgroups, ", more_fds, " descriptors"));
  if (!options.json.empty()) {
    absl::Status written = results.WriteJson(options.json);
    if (!written.ok()) {
      fprintf(stderr, "%s\n", written.ToString().c_str());
      return 1;
    }
  }
  bool failed = !results.correct() || (options.strict && results.over());
  return failed || Stopped() ? 1 : 0;
}

}  // namespace
}  // namespace treekill::bench

int main(int argc, char** argv) { return treekill::bench::Main(argc, argv); }
