#include <csignal>

#include "treekill/containment/hold.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::containment {
namespace {

class ProcessHold final : public Hold {
 public:
  Containment kind() const override { return Containment::kProcess; }

  void SetLeader(pid_t pid, int pidfd) override {
    pid_ = pid;
    pidfd_ = pidfd;
  }

  absl::StatusOr<bool> IsEmpty() override {
    if (pidfd_ < 0) return true;
    absl::StatusOr<std::optional<kernel::ChildEnd>> end =
        kernel::PollChildEnd(pidfd_, /*reap=*/false);
    if (!end.ok()) return end.status();
    return end->has_value();
  }

  absl::StatusOr<std::vector<pid_t>> Members() override {
    absl::StatusOr<bool> empty = IsEmpty();
    if (!empty.ok()) return empty.status();
    return *empty ? std::vector<pid_t>{} : std::vector<pid_t>{pid_};
  }

  bool Contains(pid_t pid) const override { return pid == pid_; }

  SignalRound Signal(int signal, pid_t) override {
    SignalRound round;
    round.error = kernel::SendSignalAndContinue(pidfd_, pid_, signal);
    if (!round.error.ok()) return round;
    round.leader_signalled = true;
    round.signalled = 1;
    return round;
  }

  absl::Status Kill() override {
    return kernel::SendSignal(pidfd_, pid_, SIGKILL);
  }

 private:
  pid_t pid_ = 0;
  int pidfd_ = -1;
};

}  // namespace

std::unique_ptr<Hold> HoldProcess() { return std::make_unique<ProcessHold>(); }

}  // namespace treekill::containment
