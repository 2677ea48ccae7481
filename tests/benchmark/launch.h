// Programs started and waited for in the plainest way: posix_spawn, wait4.
#ifndef TREEKILL_TESTS_BENCHMARK_LAUNCH_H_
#define TREEKILL_TESTS_BENCHMARK_LAUNCH_H_

#include <spawn.h>
#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace treekill::bench {

// A program with all that posix_spawn takes laid out beforehand.
class Launch final {
 public:
  enum class Streams {
    kInherit,
    // Standard input and output are /dev/null; errors are to be seen.
    kNull,
  };

  // argv[0] is looked for in PATH here, once. `extra` adds to the environment.
  explicit Launch(std::vector<std::string> argv,
                  Streams streams = Streams::kNull,
                  std::map<std::string, std::string> extra = {});
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  absl::StatusOr<pid_t> Start() const;
  // Waits; any end but exit(0) is an error.
  absl::Status Finish(pid_t pid) const;
  // Start() and Finish().
  absl::Status Run() const;

  // Runs it and returns ru_maxrss in KiB: the greater of its own and that of
  // the children it has waited for.
  absl::StatusOr<double> PeakRss() const;

 private:
  absl::Status Judge(int wait_status) const;

  std::vector<std::string> argv_;
  std::string path_;
  std::vector<std::string> variables_;
  std::vector<char*> argv_pointers_;
  std::vector<char*> variable_pointers_;
  posix_spawn_file_actions_t actions_;
};

// Voluntary and other context switches of all threads of a process so far.
absl::StatusOr<double> ContextSwitches(pid_t pid);

}  // namespace treekill::bench

#endif  // TREEKILL_TESTS_BENCHMARK_LAUNCH_H_
