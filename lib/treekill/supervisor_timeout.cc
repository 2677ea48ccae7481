// How a tree is ended when its time is over.
#include "treekill/supervisor_impl.h"

namespace treekill {

void Supervisor::Impl::OnTimeout(TreeState& tree) {
  const TreeOptions& options = tree.options;
  reserve_.clear();
  if (options.diagnose_timeout) {
    tree.report.diagnosis = internal::Diagnose(tree);
  }
  std::vector<TeardownStep>& steps = tree.options.teardown.steps;
  if (options.timeout_signal != 0 && !steps.empty()) {
    steps[0].signal = options.timeout_signal;
  }
  if (options.timeout_first_step.has_value()) {
    steps.insert(steps.begin(), *options.timeout_first_step);
    tree.timeout_first = true;
  }
  BeginTeardown(tree, EndReason::kTimeout, /*first_signal=*/0);
}

}  // namespace treekill
