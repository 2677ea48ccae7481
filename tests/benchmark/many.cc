#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/items.h"
#include "tests/benchmark/launch.h"
#include "tests/rig/rig.h"
#include "treekill/treekill.h"

namespace treekill::bench {
namespace {

// Its leader ends after half a second, and leaves something to be killed.
const std::vector<std::string> kLeaving = {"sh", "-c", "sleep 600 & sleep 0.5"};

// What many runs are known by, so that others on this machine are not taken for
// what they have left: see LeavesLeft() for the name.
struct Mark {
  std::string name = absl::StrCat("bench-", getpid());
  std::string cookie = rig::NewCookie();

  std::map<std::string, std::string> Environment() const {
    return {{rig::kCookieVariable, cookie}};
  }
};

std::unique_ptr<Launch> CommandLineRun(const Mark& mark,
                                       std::vector<std::string> command) {
  std::vector<std::string> argv = {rig::TreekillPath(), "run",
                                   absl::StrCat("--name=", mark.name), "--"};
  argv.insert(argv.end(), command.begin(), command.end());
  return std::make_unique<Launch>(argv, Launch::Streams::kNull,
                                  mark.Environment());
}

absl::Status InTurn(const Mark& mark, int runs) {
  std::unique_ptr<Launch> launch = CommandLineRun(mark, {"true"});
  for (int i = 0; i < runs; ++i) {
    if (Stopped()) return absl::CancelledError("stopped by a signal");
    absl::Status run = launch->Run();
    if (!run.ok()) return run;
  }
  return absl::OkStatus();
}

absl::Status AtOnce(const Mark& mark, int runs) {
  std::unique_ptr<Launch> launch = CommandLineRun(mark, kLeaving);
  absl::Status all;
  std::vector<pid_t> pids;
  for (int i = 0; i < runs; ++i) {
    absl::StatusOr<pid_t> pid = launch->Start();
    all.Update(pid.status());
    if (pid.ok()) pids.push_back(*pid);
  }
  for (pid_t pid : pids) all.Update(launch->Finish(pid));
  return all;
}

absl::Status InOneSupervisor(const Mark& mark, int runs) {
  absl::StatusOr<Supervisor> supervisor =
      Supervisor::Create({.containment = Containment::kCgroup});
  if (!supervisor.ok()) return supervisor.status();
  std::vector<std::string> environment = {
      absl::StrCat(rig::kCookieVariable, "=", mark.cookie)};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  Command command{.argv = kLeaving, .environment = std::move(environment)};
  std::vector<Tree> trees;
  for (int i = 0; i < runs; ++i) {
    absl::StatusOr<Tree> tree = supervisor->Spawn(command, {.name = mark.name});
    if (!tree.ok()) return tree.status();
    trees.push_back(*std::move(tree));
  }
  for (Tree& tree : trees) {
    absl::StatusOr<bool> ended = tree.Wait();
    if (!ended.ok()) return ended.status();
    const TreeReport& report = tree.report();
    bool well = report.drained && report.errors.empty() &&
                report.leaked_count > 0 && report.status.success();
    if (!well) return absl::UnknownError(ReportToJson(report, 0));
  }
  return absl::OkStatus();
}

void Prove(const std::string& what, Results& results,
           const std::function<absl::Status(const Mark&)>& run) {
  Mark mark;
  size_t fds = rig::OpenFds().size();
  double start = NowMs();
  absl::Status status = run(mark);
  double elapsed = NowMs() - start;
  // Nobody waits for it: what treekill leaves, it leaves at its own end.
  size_t processes = rig::FindByCookie(mark.cookie).size();
  int leaves = LeavesLeft();
  int more_fds =
      static_cast<int>(rig::OpenFds().size()) - static_cast<int>(fds);
  results.Figure({.item = 5, .measured = what}, elapsed);
  if (!absl::IsCancelled(status)) {
    results.Check(5, "  each ended as it should", status.ok(),
                  status.ok() ? "" : status.ToString());
  }
  results.Check(5, "  nothing is left",
                processes == 0 && leaves == 0 && more_fds == 0,
                absl::StrCat(processes, " processes, ", leaves, " cgroups, ",
                             more_fds, " descriptors"));
  if (processes > 0) rig::KillByCookie(mark.cookie);
}

}  // namespace

int LeavesLeft() {
  std::vector<std::string> leaves = rig::LeftLeaves();
  std::string own = absl::StrCat("-", getpid(), "-");
  return static_cast<int>(std::count_if(
      leaves.begin(), leaves.end(),
      [&](const auto& leaf) { return absl::StrContains(leaf, own); }));
}

void MeasureMany(const Sizes& sizes, Results& results) {
  Prove(absl::StrCat(sizes.runs_in_turn, " treekill run, in turn"), results,
        [&](const Mark& mark) { return InTurn(mark, sizes.runs_in_turn); });
  Prove(absl::StrCat(sizes.runs_at_once, " treekill run at once, of 500 ms"),
        results,
        [&](const Mark& mark) { return AtOnce(mark, sizes.runs_at_once); });
  Prove(absl::StrCat(sizes.runs_at_once, " trees of a Supervisor, of 500 ms"),
        results, [&](const Mark& mark) {
          return InOneSupervisor(mark, sizes.runs_at_once);
        });
}

}  // namespace treekill::bench
