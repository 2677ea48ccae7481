// What the kernel makes one pay for a cgroup, with no library in between.
#ifndef TREEKILL_TESTS_BENCHMARK_BARE_H_
#define TREEKILL_TESTS_BENCHMARK_BARE_H_

#include <string>

#include "absl/status/status.h"

namespace treekill::bench {

// How the new process gets by until its exec.
enum class Memory {
  // In that of this process, as with vfork(2): CLONE_VM.
  kShared,
  // In a copy, as with fork(2).
  kCopied,
};

// A cgroup, and one command at a time in it.
class BareCgroup final {
 public:
  BareCgroup() = default;
  // Kills and removes what is left.
  ~BareCgroup();
  BareCgroup(const BareCgroup&) = delete;
  BareCgroup& operator=(const BareCgroup&) = delete;

  // Makes it, and opens it, its cgroup.kill and its cgroup.events.
  absl::Status Make(const std::string& parent);
  // clone3 with CLONE_INTO_CGROUP, CLONE_VFORK and CLONE_PIDFD. The command
  // leads a process group, as the library's does.
  absl::Status Start(const char* path, const char* const* argv, Memory memory);
  // Writes "1" to cgroup.kill.
  absl::Status Kill();
  // Waits for populated 0.
  absl::Status AwaitEmpty();
  // Waits for the command; `wanted` is its exit status, or minus the signal.
  absl::Status Reap(int wanted);
  // rmdir, for as long as it takes.
  absl::Status Remove();

 private:
  std::string path_;
  int directory_ = -1;
  int kill_ = -1;
  int events_ = -1;
  int pidfd_ = -1;
};

}  // namespace treekill::bench

#endif  // TREEKILL_TESTS_BENCHMARK_BARE_H_
