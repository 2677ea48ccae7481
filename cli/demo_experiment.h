// All trials of `treekill demo`, and the end of all that they leave.
#ifndef TREEKILL_CLI_DEMO_EXPERIMENT_H_
#define TREEKILL_CLI_DEMO_EXPERIMENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/demo_matrix.h"
#include "cli/demo_trial.h"
#include "cli/signals.h"
#include "treekill/treekill.h"

namespace treekill::cli {

// For a process that has no children and starts no others: every orphan below
// it becomes its child, and is killed in the end, whoever it is.
class Experiment final {
 public:
  Experiment();

  // Makes every trial: some seconds. kCancelled: a signal has ended it before,
  // see ended_by(). Call Clean() in any case.
  absl::Status Perform();

  // Kills all that is alive, removes all that was made, and says what could not
  // be.
  std::vector<std::string> Clean();

  // With an empty Matrix::left.
  Matrix Seen() const;
  int ended_by() const { return ended_by_; }

 private:
  using Trials = std::vector<std::unique_ptr<Trial>>;

  void Prepare();
  void MakeCgroups(const HostInfo& host);
  absl::Status Serve(const std::vector<Trial*>& trials,
                     absl::Duration patience);
  void TakeSignals();
  std::vector<Trial*> All() const;
  bool MayGoByItself(pid_t pid) const;
  bool KillChildren();
  std::vector<std::string> RemoveCgroups();

  Signals signals_;
  int ended_by_ = 0;
  Site site_;
  // Of each method, in the order of the escapees.
  std::vector<Trials> trials_;
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DEMO_EXPERIMENT_H_
