// Two ways to do a thing, done in turn in one run: what else the machine does
// then falls on both alike, and their ratio says more than either time.
#ifndef TREEKILL_TESTS_BENCHMARK_MEASURE_H_
#define TREEKILL_TESTS_BENCHMARK_MEASURE_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace treekill::bench {

// CLOCK_MONOTONIC.
double NowMs();

struct Spread {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
};
// All 0 without samples.
Spread SpreadOf(std::vector<double> samples);

// Of the same length: measured[i] was followed by against[i].
struct Pairs {
  std::vector<double> measured;
  std::vector<double> against;
};
double RatioOfMedians(const Pairs& pairs);
double MedianOfRatios(const Pairs& pairs);

// Does the thing once and returns what it cost. An error ends the measurement.
using Sample = std::function<absl::StatusOr<double>()>;

// A sample that is the time an action takes, in ms.
Sample Timed(std::function<absl::Status()> action);

// Takes the two in turn, a few times for nothing first. kCancelled after
// SIGINT, SIGTERM or SIGHUP, so that the way out removes what was made.
absl::StatusOr<Pairs> Interleave(int rounds, const Sample& measured,
                                 const Sample& against);

// To be called once, before the first measurement.
void StopOnSignals();
bool Stopped();

}  // namespace treekill::bench

#endif  // TREEKILL_TESTS_BENCHMARK_MEASURE_H_
