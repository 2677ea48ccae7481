#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/benchmark/items.h"
#include "tests/benchmark/launch.h"
#include "tests/rig/rig.h"
#include "treekill/treekill.h"

namespace treekill::bench {
namespace {

constexpr char kCgroups[] = "/sys/fs/cgroup/system.slice/";
constexpr char kDelegated[] = "bench-delegated.service";
constexpr char kKeeper[] = "bench-keeper.service";
// Of this process, and not delegated.
constexpr char kOwn[] = "test.scope";

// A service that treekill may ask nobody in, or may be a keeper in.
absl::Status StartService(const std::string& unit,
                          std::vector<std::string> command) {
  std::vector<std::string> argv = {"systemd-run", "--quiet",
                                   absl::StrCat("--unit=", unit), "-p",
                                   "Delegate=yes"};
  argv.insert(argv.end(), command.begin(), command.end());
  return Launch(argv).Run();
}

// So that what this process starts is in that unit.
absl::Status MoveTo(const std::string& unit) {
  std::string file = absl::StrCat(kCgroups, unit, "/cgroup.procs");
  std::ofstream procs(file);
  procs << getpid() << std::flush;
  return procs.good() ? absl::OkStatus()
                      : absl::UnavailableError("cannot write to " + file);
}

// Moves there first, which is not timed.
Sample In(const std::string& unit, std::function<absl::Status()> action) {
  return [unit, timed = Timed(std::move(action))]() -> absl::StatusOr<double> {
    absl::Status moved = MoveTo(unit);
    if (!moved.ok()) return moved;
    return timed();
  };
}

Sample In(const std::string& unit, const Launch& launch) {
  return In(unit, [&launch] { return launch.Run(); });
}

absl::Status RunTrue(Supervisor* supervisor) {
  absl::StatusOr<Tree> tree = supervisor->Spawn({.argv = {"true"}});
  return tree.ok() ? tree->Wait().status() : tree.status();
}

void MeasureScope(const Sizes& sizes, Results& results) {
  Launch treekill({rig::TreekillPath(), "run", "true"});
  Launch systemd({"systemd-run", "--quiet", "--scope", "true"});
  results.Compare(
      {.item = 6,
       .measured = "treekill run true, in a scope",
       .against = "systemd-run --scope true",
       .target = 1.0},
      Interleave(sizes.rounds / 4, In(kOwn, treekill), In(kOwn, systemd)));
}

void MeasureDelegated(const Sizes& sizes, Results& results) {
  Launch treekill({rig::TreekillPath(), "run", "true"});
  Launch direct({rig::TreekillPath(), "run", "--containment=cgroup", "true"});
  results.Compare(
      {.item = 6,
       .measured = "treekill run true, delegated",
       .against = "treekill run true, without systemd",
       .target = 1.1},
      Interleave(sizes.rounds, In(kDelegated, treekill), In(kOwn, direct)));
  Launch service({"systemd-run", "--quiet", "--wait", "--pipe", "true"});
  results.Compare({.item = 6,
                   .measured = "treekill run true, delegated",
                   .against = "systemd-run --wait --pipe true",
                   .target = 0.1},
                  Interleave(sizes.rounds / 4, In(kDelegated, treekill),
                             In(kOwn, service)));
  Launch bare({"true"});
  results.Compare(
      {.item = 6,
       .measured = "floor: posix_spawn of true",
       .against = "systemd-run --wait --pipe true"},
      Interleave(sizes.rounds / 4, In(kDelegated, bare), In(kOwn, service)));
  (void)MoveTo(kDelegated);
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  if (!supervisor.ok()) {
    results.Check(6, "a Supervisor", false, supervisor.status().ToString());
    return;
  }
  results.Compare(
      {.item = 6,
       .measured = "Spawn() and Wait() of true, delegated",
       .against = "systemd-run --wait --pipe true",
       .target = 0.1},
      Interleave(sizes.rounds / 4,
                 In(kDelegated, [&] { return RunTrue(&*supervisor); }),
                 In(kOwn, service)));
}

void MeasureKeeper(const Sizes& sizes, Results& results) {
  Launch treekill({rig::TreekillPath(), "run", "true"});
  results.Compare(
      {.item = 6,
       .measured = "treekill run true, with a keeper",
       .against = "treekill run true, delegated",
       .target = 1.1},
      Interleave(sizes.rounds, In(kOwn, treekill), In(kDelegated, treekill)));
}

}  // namespace

void MeasureCompanion(const Sizes& sizes, Results& results) {
  if (getenv("TREEKILL_MACHINE") == nullptr) {
    results.Note(6, "not on a machine of tests/rig/systemd_machine");
    return;
  }
  // A scope that is empty ends.
  Launch resident({"sleep", "infinity"});
  absl::StatusOr<pid_t> stays = resident.Start();
  absl::Status started = StartService(kDelegated, {"sleep", "infinity"});
  results.Check(6, "a delegated service", started.ok() && stays.ok(),
                started.ToString());
  MeasureScope(sizes, results);
  MeasureDelegated(sizes, results);
  started = StartService(kKeeper, {rig::TreekillPath(), "keeper"});
  bool kept = rig::Eventually(
      [] { return std::filesystem::is_symlink("/run/treekill/keeper"); });
  results.Check(6, "a keeper", started.ok() && kept, started.ToString());
  if (kept) MeasureKeeper(sizes, results);
  (void)MoveTo(kOwn);
  if (stays.ok()) {
    kill(*stays, SIGKILL);
    (void)resident.Finish(*stays);
  }
  for (const char* unit : {kDelegated, kKeeper}) {
    (void)Launch({"systemctl", "stop", unit}).Run();
  }
}

}  // namespace treekill::bench
