// From a Command to what the child does: internal to the library.
#ifndef TREEKILL_SPAWN_PLAN_H_
#define TREEKILL_SPAWN_PLAN_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "treekill/command.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/fd.h"

namespace treekill {

// Owns everything that a kernel::ChildPlan points to. The Command must outlive
// it.
class SpawnPlan final {
 public:
  SpawnPlan() = default;
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // Lays out the plan of a valid command: environment, PATH, descriptors.
  absl::Status Prepare(const Command& command, bool new_process_group);

  void NeedProcessGroup() { plan_.new_process_group = true; }

  // `signal` is sent to the child when the calling thread ends.
  void SetParentDeathSignal(int signal);

  const kernel::ChildPlan& plan() const { return plan_; }

 private:
  void PrepareArguments(const Command& command);
  void PrepareEnvironment(const Command& command);
  void TakeOurPlace();
  absl::Status PrepareDescriptors(const Command& command);

  kernel::ChildPlan plan_;
  std::vector<const char*> argv_;
  std::vector<const char*> environment_;
  // Variables that name the command's own pid; what points into them is filled
  // in by the child.
  std::deque<std::string> own_pid_variables_;
  std::vector<char*> pid_texts_;
  std::vector<const char*> shell_argv_;
  std::vector<std::string> path_storage_;
  std::vector<const char*> paths_;
  std::vector<kernel::FdMove> fds_;
  std::vector<kernel::ChildLimit> limits_;
  kernel::UniqueFd null_;
};

// What a child that gave up means: "cannot run make: execve: No such file or
// directory". `command` names the program and the directory.
absl::Status SpawnFailure(const kernel::ChildFailure& failure,
                          const Command& command);

}  // namespace treekill

#endif  // TREEKILL_SPAWN_PLAN_H_
