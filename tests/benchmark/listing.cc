#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/benchmark/items.h"
#include "tests/benchmark/launch.h"
#include "tests/rig/rig.h"

namespace treekill::bench {
namespace {

// How often slower than the listing of /proc it may be.
constexpr double kTarget = 10;

std::string NameOf(const std::string& part) {
  return absl::StrCat("bench-", getpid(), "-", part);
}

// Treekills that are ended with this.
class Runs final {
 public:
  ~Runs() {
    for (auto& run : runs_) run->Signal(SIGTERM);
    for (auto& run : runs_) run->Wait();
  }

  void Start(const std::string& name, std::vector<std::string> command) {
    std::vector<std::string> argv = {rig::TreekillPath(), "run",
                                     "--name=" + name, "--"};
    argv.insert(argv.end(), command.begin(), command.end());
    runs_.push_back(std::make_unique<rig::Program>(argv));
  }

 private:
  std::vector<std::unique_ptr<rig::Program>> runs_;
};

Sample Listing(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {rig::TreekillPath(), "ps"});
  auto launch = std::make_shared<Launch>(arguments, Launch::Streams::kNull);
  return Timed([launch] { return launch->Run(); });
}

Sample ListingOfProc() {
  auto launch = std::make_shared<Launch>(
      std::vector<std::string>{"sh", "-c", "ls /proc | wc -l"},
      Launch::Streams::kNull);
  return Timed([launch] { return launch->Run(); });
}

void Compare(const std::string& measured, std::vector<std::string> arguments,
             std::optional<double> target, int rounds, Results& results) {
  results.Compare(
      {.item = 7,
       .measured = measured,
       .against = "ls /proc | wc -l",
       .target = target},
      Interleave(rounds, Listing(std::move(arguments)), ListingOfProc()));
}

size_t AliveOf(const std::string& prefix) {
  rig::Outcome outcome = rig::RunProgram({rig::TreekillPath(), "ps", "--json"});
  auto json = nlohmann::json::parse(outcome.output, nullptr,
                                    /*allow_exceptions=*/false);
  if (!json.is_object()) return 0;
  return std::count_if(
      json["runs"].begin(), json["runs"].end(), [&](const auto& run) {
        return run["name"].template get<std::string>().starts_with(prefix) &&
               run["member_count"] > 0;
      });
}

}  // namespace

void MeasureListing(const Sizes& sizes, Results& results) {
  {
    rig::TempDir directory;
    std::string ready = directory.File("ready");
    std::string name = NameOf("big");
    Runs runs;
    runs.Start(name,
               {rig::EscapeePath(), "sleepers",
                absl::StrCat("--count=", sizes.listed_members), "--then=stay",
                "--cookie=" + rig::NewCookie(), "--ready=" + ready});
    bool is_ready =
        rig::Eventually([&] { return !rig::ReadAll(ready).empty(); });
    results.Check(7, "the members are there", is_ready,
                  is_ready ? "" : "not ready");
    std::string members = absl::StrCat(", ", sizes.listed_members, " members");
    Compare("ps --json" + members, {"--json"}, kTarget, sizes.tree_rounds,
            results);
    Compare("ps --tree --json" + members, {"--tree", "--json"}, std::nullopt,
            sizes.tree_rounds, results);
  }
  Runs runs;
  std::string prefix = NameOf("many");
  for (int i = 0; i < sizes.listed_runs; ++i) {
    runs.Start(absl::StrCat(prefix, i), {"sleep", "600"});
  }
  size_t wanted = sizes.listed_runs;
  bool all = rig::Eventually([&] { return AliveOf(prefix) == wanted; });
  results.Check(7, absl::StrCat(wanted, " runs are listed"), all,
                absl::StrCat(AliveOf(prefix), " are"));
  Compare(absl::StrCat("ps --json, ", wanted, " runs"), {"--json"},
          std::nullopt, sizes.tree_rounds, results);
}

}  // namespace treekill::bench
