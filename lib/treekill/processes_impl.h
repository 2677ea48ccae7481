// What stands behind Processes: internal to it.
#ifndef TREEKILL_PROCESSES_IMPL_H_
#define TREEKILL_PROCESSES_IMPL_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "treekill/containment/gathered_hold.h"
#include "treekill/containment/hold.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/processes.h"

namespace treekill {

class Processes::Impl final {
 public:
  Impl(std::string name, std::unique_ptr<containment::GatheredHold> hold)
      : name_(std::move(name)), gathered_(hold.get()), hold_(std::move(hold)) {}
  Impl(std::string name, std::unique_ptr<containment::Hold> hold,
       kernel::Cgroup cgroup)
      : name_(std::move(name)),
        hold_(std::move(hold)),
        cgroup_(std::move(cgroup)) {}

  const std::string& name() const { return name_; }
  absl::StatusOr<std::vector<pid_t>> Pids();
  ProcessesEnd End(const EndOptions& options);

 private:
  const std::string name_;
  // The hold, where it is one of those.
  containment::GatheredHold* gathered_ = nullptr;
  std::unique_ptr<containment::Hold> hold_;
  // Else what it holds.
  std::optional<kernel::Cgroup> cgroup_;
};

}  // namespace treekill

#endif  // TREEKILL_PROCESSES_IMPL_H_
