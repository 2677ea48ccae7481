// What is measured, item by item; the numbers are those in the table.
#ifndef TREEKILL_TESTS_BENCHMARK_ITEMS_H_
#define TREEKILL_TESTS_BENCHMARK_ITEMS_H_

#include <cstddef>

#include "tests/benchmark/results.h"

namespace treekill::bench {

struct Sizes {
  // Pairs of a short command.
  int rounds = 1000;
  int rss_rounds = 20;
  // Touched in the host of item 2.
  size_t host_bytes = size_t{2} << 30;
  // Pairs of a big tree, and its members.
  int tree_rounds = 15;
  int tree_members = 1000;
  // How long item 4 looks on.
  int idle_seconds = 10;
  int runs_in_turn = 1000;
  int runs_at_once = 50;
  // Of one run that is listed, and runs that are.
  int listed_members = 5000;
  int listed_runs = 100;
};

// For a look at whether it works: the times mean nothing.
inline constexpr Sizes kQuick = {.rounds = 5,
                                 .rss_rounds = 2,
                                 .host_bytes = size_t{64} << 20,
                                 .tree_rounds = 2,
                                 .tree_members = 50,
                                 .idle_seconds = 2,
                                 .runs_in_turn = 20,
                                 .runs_at_once = 50,
                                 .listed_members = 100,
                                 .listed_runs = 10};

// 1: `treekill run true` against `timeout 10 true`.
void MeasureCommandLine(const Sizes& sizes, Results& results);
// 2: Spawn() and Wait() against posix_spawn and waitpid.
void MeasureLibrary(const Sizes& sizes, Results& results);
// 3: the end of a big tree against a bare write to cgroup.kill.
void MeasureBigTree(const Sizes& sizes, Results& results);
// 4: how often treekill wakes up while its command sleeps.
void MeasureIdle(const Sizes& sizes, Results& results);
// 5: many runs, and that nothing is left of them.
void MeasureMany(const Sizes& sizes, Results& results);

// 6: treekill beside systemd-run, on a machine of tests/rig/systemd_machine.
void MeasureCompanion(const Sizes& sizes, Results& results);

// 7: `treekill ps` against a listing of /proc.
void MeasureListing(const Sizes& sizes, Results& results);

// The cgroups that are left and have this process's pid in their names: by its
// own hand, the library's, or --name.
int LeavesLeft();

}  // namespace treekill::bench

#endif  // TREEKILL_TESTS_BENCHMARK_ITEMS_H_
