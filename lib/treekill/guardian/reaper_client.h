// The supervisor's side of a reaper: a hold that another process keeps.
#ifndef TREEKILL_GUARDIAN_REAPER_CLIENT_H_
#define TREEKILL_GUARDIAN_REAPER_CLIENT_H_

#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/containment/descendants.h"
#include "treekill/containment/hold.h"
#include "treekill/guardian/finish.h"
#include "treekill/guardian/reaper_protocol.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/fd.h"

namespace treekill::guardian {

struct ReaperForm {
  // Of the guardian, which is the reaper's as well: see FindProgram().
  std::string program;
  // The name by which it is found: containment::NewLeafName().
  std::string tree;
  // When we die: SIGKILL to everybody, as the guardian would. Else the leader
  // is killed if its plan says so, and nobody else.
  bool kill_on_death = false;
  absl::Duration drain_timeout;
  // We are a subreaper ourselves: should the reaper be lost, its orphans come
  // to us.
  bool adopts_orphans = false;
};

class ReaperClient final : public containment::Hold {
 public:
  explicit ReaperClient(ReaperForm form) : form_(std::move(form)) {}
  // Waits for the reaper's end, which it comes to with the tree's. After
  // fork(2) the copy in the child does nothing.
  ~ReaperClient() override;

  // What is left of the teardown should we die.
  void TellRest(const RestOfTeardown& rest);

  // The reaper's own processes, as far as they are alive.
  std::vector<pid_t> processes() const;
  // Is it one of these?
  bool IsReaper(pid_t pid) const;
  // The one that is our child, and not to be reaped by anybody else.
  pid_t outer() const { return outer_.pid; }

  Containment kind() const override { return Containment::kSubreaper; }
  absl::StatusOr<kernel::Child> Start(const kernel::ChildPlan& plan) override;
  void SetLeader(pid_t pid, int pidfd) override;

  int leader_fd() const override { return leader_channel_.get(); }
  bool LeaderHasEnded() override;
  absl::StatusOr<std::optional<kernel::ChildEnd>> PollLeaderEnd(
      int pidfd, bool reap) override;
  int PollLeaderStop(int pidfd) override;

  int events_fd() const override { return events_.get(); }
  uint32_t event_mask() const override { return EPOLLIN; }
  bool EventsAreOver() const override { return empty_ || lost_; }
  int kill_fd() const override { return tree_channel_.get(); }

  absl::StatusOr<bool> IsEmpty() override;
  absl::StatusOr<std::vector<pid_t>> Members() override;
  // Who comes to us as an orphan of the reaper's has not left its hold.
  bool Contains(pid_t) const override { return true; }
  containment::SignalRound Signal(int signal, pid_t only_group) override;
  absl::Status Kill() override;
  bool IsRefused() const override { return refused_; }
  absl::Status Remove() override;
  void GiveUp() override;

 private:
  absl::Status Launch(const kernel::ChildPlan& plan, int leader_end,
                      int tree_end);
  absl::StatusOr<kernel::Child> AwaitLeader();
  absl::Status Tell(TreeNote note) const;
  // Of those processes of the reaper's that are alive: the number of one that
  // was reaped may be another's.
  containment::Descendants descendants() const;
  // Blocks until the reaper has ended; after `patience` it is killed.
  void AwaitEnd(absl::Duration patience);
  // When the reaper's ends of the channels are closed: it is dying, and when it
  // is dead what it held has other parents.
  void Lose();
  // To its processes that are alive, the outer one first, which would do the
  // inner one's work.
  void SignalReaper(int signal) const;
  // Whoever has stopped it.
  void Continue() const;

  const ReaperForm form_;
  const pid_t owner_ = getpid();
  // Kill() may be called by any thread, and is to do nothing once the pids of
  // the reaper are free for others.
  std::mutex mutex_;
  kernel::Child outer_;
  kernel::Child inner_;
  kernel::UniqueFd leader_channel_;
  // For what is written to it; events_ is the same.
  kernel::UniqueFd tree_channel_;
  kernel::UniqueFd events_;
  pid_t leader_ = 0;
  int leader_pidfd_ = -1;
  int leader_stop_ = 0;
  std::optional<kernel::ChildEnd> leader_end_;
  // Its end is not told any more.
  bool leader_lost_ = false;
  // Until the leader is launched.
  bool empty_ = true;
  bool refused_ = false;
  bool kill_told_ = false;
  // It was killed, all of it.
  bool lost_ = false;
};

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_REAPER_CLIENT_H_
