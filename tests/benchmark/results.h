// What was found: a table on standard output as it grows, and JSON.
#ifndef TREEKILL_TESTS_BENCHMARK_RESULTS_H_
#define TREEKILL_TESTS_BENCHMARK_RESULTS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tests/benchmark/measure.h"

namespace treekill::bench {

// One row, and what it is about. The target is an upper bound: of the ratio of
// medians for a comparison, of the value for a figure; a row without one
// explains another.
struct Row {
  int item = 0;
  std::string measured;
  std::string against = "";
  std::string unit = "ms";
  std::optional<double> target = std::nullopt;
};

class Results final {
 public:
  Results();

  // Prints the row. An error is a failed check, kCancelled excepted.
  void Compare(const Row& row, const absl::StatusOr<Pairs>& pairs);
  void Figure(const Row& row, double value);
  // Something that must hold, however slow the machine is.
  void Check(int item, const std::string& what, bool holds,
             const std::string& detail);
  // Something that could not be measured here.
  void Note(int item, const std::string& text);

  bool correct() const { return correct_; }
  bool over() const { return over_; }
  // With the machine's load now.
  absl::Status WriteJson(const std::string& file);

 private:
  std::string Judge(double value, const std::optional<double>& target,
                    nlohmann::ordered_json& entry);

  bool correct_ = true;
  bool over_ = false;
  nlohmann::ordered_json json_;
};

}  // namespace treekill::bench

#endif  // TREEKILL_TESTS_BENCHMARK_RESULTS_H_
