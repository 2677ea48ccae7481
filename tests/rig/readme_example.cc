#include <iostream>

#include "treekill/treekill.h"

int main() {
  // Leaves a daemon behind that holds the output open.
  absl::StatusOr<treekill::RunResult> result = treekill::Run(
      {.argv = {"sh", "-c", "setsid sleep 600 & echo built; exit 3"}},
      {.tree = {.name = "nightly", .timeout = absl::Minutes(10)}});
  if (!result.ok()) {
    std::cerr << "cannot run: " << result.status().message() << "\n";
    return 1;
  }
  std::cout << result->output << result->report.status.ToString() << ", "
            << result->report.leaked_count << " process leaked, "
            << (result->report.drained ? "nothing" : "something")
            << " is left\n";
}
