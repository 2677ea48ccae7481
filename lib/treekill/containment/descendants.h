// The descendants of processes that adopt their orphans, for as long as these
// live: found by their parents, signalled one by one.
#ifndef TREEKILL_CONTAINMENT_DESCENDANTS_H_
#define TREEKILL_CONTAINMENT_DESCENDANTS_H_

#include <sys/types.h>

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "treekill/containment/hold.h"
#include "treekill/kernel/proc.h"

namespace treekill::containment {

// Nothing here proves that nobody is left: only wait(2) in the ancestor does.
// Thread-safe.
class Descendants final {
 public:
  // Of these, themselves not counted. `is_live`: is the number its own still?
  // Asked after a parent was read, where an ancestor may be reaped meanwhile.
  explicit Descendants(
      std::vector<pid_t> ancestors,
      std::function<bool(pid_t)> is_live = [](pid_t) { return true; })
      : ancestors_(std::move(ancestors)), is_live_(std::move(is_live)) {}

  absl::StatusOr<std::vector<kernel::ProcessStat>> Live() const;
  absl::StatusOr<std::vector<pid_t>> Pids() const;

  // Stops everybody (SIGSTOP), again until nobody new is found, so that none is
  // missed because it was just being born; then sends `signal` and SIGCONT.
  // With `only_group` not 0, to those of that process group.
  // SIGKILL is sent at once. `between_looks` is for an ancestor that reaps: a
  // fork bomb would make more and more dead to be looked through.
  SignalRound Signal(
      int signal, pid_t only_group, pid_t leader,
      const std::function<void()>& between_looks = [] {}) const;

 private:
  std::vector<pid_t> LiveAncestors() const;

  const std::vector<pid_t> ancestors_;
  const std::function<bool(pid_t)> is_live_;
};

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_DESCENDANTS_H_
