#include <cerrno>
#include <csignal>

#include "absl/strings/str_cat.h"
#include "treekill/containment/hold.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::containment {
namespace {

class ProcessGroupHold final : public Hold {
 public:
  Containment kind() const override { return Containment::kProcessGroup; }
  bool NeedsProcessGroup() const override { return true; }
  void SetLeader(pid_t pid, int) override { group_ = pid; }

  absl::StatusOr<bool> IsEmpty() override {
    absl::StatusOr<std::vector<pid_t>> members = Members();
    if (!members.ok()) return members.status();
    return members->empty();
  }

  absl::StatusOr<std::vector<pid_t>> Members() override {
    std::vector<pid_t> members;
    if (group_ == 0) return members;
    absl::StatusOr<std::vector<pid_t>> all = kernel::ListProcesses();
    if (!all.ok()) return all.status();
    for (pid_t pid : *all) {
      if (kernel::ProcessGroupOf(pid) != group_) continue;
      std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
      if (stat.has_value() && stat->process_group == group_ &&
          !stat->IsDead()) {
        members.push_back(pid);
      }
    }
    return members;
  }

  bool Contains(pid_t pid) const override {
    return kernel::ProcessGroupOf(pid) == group_;
  }

  SignalRound Signal(int signal, pid_t) override {
    SignalRound round;
    round.error = SendToGroup(signal);
    if (!round.error.ok()) return round;
    round.error = SendToGroup(SIGCONT);
    round.leader_signalled = true;
    round.signalled = 1;
    return round;
  }

  absl::Status Kill() override { return SendToGroup(SIGKILL); }

 private:
  absl::Status SendToGroup(int signal) {
    if (group_ == 0 || kernel::Kill(-group_, signal) == 0 || errno == ESRCH) {
      return absl::OkStatus();
    }
    return kernel::ErrnoStatus(
        errno, "kill", absl::StrCat("cannot signal process group ", group_));
  }

  pid_t group_ = 0;
};

}  // namespace

std::unique_ptr<Hold> HoldProcessGroup() {
  return std::make_unique<ProcessGroupHold>();
}

}  // namespace treekill::containment
