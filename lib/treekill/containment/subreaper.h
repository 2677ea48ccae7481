// Holding a tree by being the subreaper above it: prctl(2),
// PR_SET_CHILD_SUBREAPER. Every orphan of the tree comes back to this process,
// and wait(2) proves that none is left.
#ifndef TREEKILL_CONTAINMENT_SUBREAPER_H_
#define TREEKILL_CONTAINMENT_SUBREAPER_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "treekill/containment/descendants.h"
#include "treekill/containment/hold.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::containment {

// Holds every child of this process, all of which must be of one tree; reaps
// them. SIGCHLD must be blocked and not ignored.
class SubreaperHold final : public Hold {
 public:
  static absl::StatusOr<std::unique_ptr<SubreaperHold>> Create();

  Containment kind() const override { return Containment::kSubreaper; }
  void SetLeader(pid_t pid, int pidfd) override {
    leader_ = pid;
    leader_pidfd_ = pidfd;
  }
  int events_fd() const override { return children_.get(); }
  uint32_t event_mask() const override { return EPOLLIN; }

  // Reaps all that is dead.
  absl::StatusOr<bool> IsEmpty() override;
  absl::StatusOr<std::vector<pid_t>> Members() override;
  bool Contains(pid_t pid) const override;
  SignalRound Signal(int signal, pid_t only_group) override;
  absl::Status Kill() override;
  bool IsRefused() const override { return refused_; }
  absl::Status Remove() override;

  // How the leader has ended, as IsEmpty() has seen it.
  const std::optional<kernel::ChildEnd>& leader_end() const {
    return leader_end_;
  }

 private:
  explicit SubreaperHold(kernel::UniqueFd children);

  kernel::UniqueFd children_;
  const Descendants descendants_;
  pid_t leader_ = 0;
  int leader_pidfd_ = -1;
  std::optional<kernel::ChildEnd> leader_end_;
  bool refused_ = false;
};

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_SUBREAPER_H_
