#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/benchmark/items.h"
#include "tests/benchmark/launch.h"
#include "tests/rig/rig.h"

namespace treekill::bench {
namespace {

Sample TimeOf(const Launch& launch) {
  return Timed([&launch] { return launch.Run(); });
}

Sample PeakRssOf(const Launch& launch) {
  return [&launch] { return launch.PeakRss(); };
}

}  // namespace

void MeasureCommandLine(const Sizes& sizes, Results& results) {
  Launch treekill({rig::TreekillPath(), "run", "true"});
  Launch timeout({"timeout", "10", "true"});
  Launch bare({"true"});
  results.Compare({.item = 1,
                   .measured = "treekill run true",
                   .against = "timeout 10 true",
                   .target = 1.05},
                  Interleave(sizes.rounds, TimeOf(treekill), TimeOf(timeout)));
  Launch unguarded({rig::TreekillPath(), "run", "--guardian=no", "true"});
  results.Compare(
      {.item = 1,
       .measured = "treekill run true",
       .against = "treekill run --guardian=no true",
       .target = 1.05},
      Interleave(sizes.rounds, TimeOf(treekill), TimeOf(unguarded)));
  std::string floor =
      absl::StrCat(rig::BuildFolder(), "/tests/benchmark/bare_guardian");
  Launch guarded_floor({floor, "--guardian", "true"});
  Launch unguarded_floor({floor, "true"});
  results.Compare(
      {.item = 1,
       .measured = "floor: plain C, true beside a process",
       .against = "plain C, true"},
      Interleave(sizes.rounds, TimeOf(guarded_floor), TimeOf(unguarded_floor)));
  results.Compare(
      {.item = 1, .measured = "treekill run true", .against = "true alone"},
      Interleave(sizes.rounds, TimeOf(treekill), TimeOf(bare)));
  results.Compare(
      {.item = 1,
       .measured = "peak RSS of treekill run true",
       .against = "peak RSS of timeout 10 true",
       .unit = "KiB"},
      Interleave(sizes.rss_rounds, PeakRssOf(treekill), PeakRssOf(timeout)));
  results.Compare(
      {.item = 1,
       .measured = "peak RSS of treekill run true",
       .against = "peak RSS of true alone",
       .unit = "KiB"},
      Interleave(sizes.rss_rounds, PeakRssOf(treekill), PeakRssOf(bare)));
}

void MeasureIdle(const Sizes& sizes, Results& results) {
  // One second to start in, and one to be still there at the second look.
  std::string seconds = absl::StrCat(sizes.idle_seconds + 2);
  Launch treekill({rig::TreekillPath(), "run", "sleep", seconds});
  absl::StatusOr<pid_t> pid = treekill.Start();
  if (!pid.ok()) {
    results.Check(4, "treekill run sleep", false, pid.status().ToString());
    return;
  }
  absl::SleepFor(absl::Seconds(1));
  absl::StatusOr<double> before = ContextSwitches(*pid);
  absl::SleepFor(absl::Seconds(sizes.idle_seconds));
  absl::StatusOr<double> after = ContextSwitches(*pid);
  absl::Status ended = treekill.Finish(*pid);
  for (const absl::Status& status : {before.status(), after.status(), ended}) {
    if (status.ok()) continue;
    results.Check(4, "treekill run sleep", false, status.ToString());
    return;
  }
  results.Figure({.item = 4,
                  .measured = absl::StrCat("treekill while sleep sleeps, in ",
                                           sizes.idle_seconds, " s"),
                  .unit = "context switches",
                  .target = 0},
                 *after - *before);
}

}  // namespace treekill::bench
