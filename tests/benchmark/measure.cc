#include "tests/benchmark/measure.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <ctime>
#include <utility>

namespace treekill::bench {
namespace {

volatile sig_atomic_t g_stopped = 0;

// Between the two nearest samples, by their distance.
double Quantile(const std::vector<double>& sorted, double quantile) {
  double place = quantile * static_cast<double>(sorted.size() - 1);
  size_t below = static_cast<size_t>(std::floor(place));
  size_t above = std::min(below + 1, sorted.size() - 1);
  double share = place - static_cast<double>(below);
  return sorted[below] * (1 - share) + sorted[above] * share;
}

}  // namespace

double NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 +
         static_cast<double>(now.tv_nsec) / 1e6;
}

Spread SpreadOf(std::vector<double> samples) {
  if (samples.empty()) return Spread();
  std::sort(samples.begin(), samples.end());
  return {.median = Quantile(samples, 0.5),
          .p10 = Quantile(samples, 0.1),
          .p90 = Quantile(samples, 0.9)};
}

double RatioOfMedians(const Pairs& pairs) {
  return SpreadOf(pairs.measured).median / SpreadOf(pairs.against).median;
}

double MedianOfRatios(const Pairs& pairs) {
  std::vector<double> ratios;
  for (size_t i = 0; i < pairs.measured.size(); ++i) {
    ratios.push_back(pairs.measured[i] / pairs.against[i]);
  }
  return SpreadOf(std::move(ratios)).median;
}

Sample Timed(std::function<absl::Status()> action) {
  return [action = std::move(action)]() -> absl::StatusOr<double> {
    double start = NowMs();
    absl::Status done = action();
    double end = NowMs();
    if (!done.ok()) return done;
    return end - start;
  };
}

absl::StatusOr<Pairs> Interleave(int rounds, const Sample& measured,
                                 const Sample& against) {
  Pairs pairs;
  int warm_up = std::clamp(rounds / 10, 1, 20);
  for (int i = -warm_up; i < rounds; ++i) {
    if (Stopped()) return absl::CancelledError("stopped by a signal");
    absl::StatusOr<double> first = measured();
    if (!first.ok()) return first.status();
    absl::StatusOr<double> second = against();
    if (!second.ok()) return second.status();
    if (i < 0) continue;
    pairs.measured.push_back(*first);
    pairs.against.push_back(*second);
  }
  return pairs;
}

void StopOnSignals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { g_stopped = 1; };
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    sigaction(signal, &action, nullptr);
  }
}

bool Stopped() { return g_stopped != 0; }

}  // namespace treekill::bench
