// The two ways in which a live run is held by others: internal to the library.
#ifndef TREEKILL_LIVE_RUN_IMPL_H_
#define TREEKILL_LIVE_RUN_IMPL_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/containment/hold.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/proc.h"
#include "treekill/live_run.h"
#include "treekill/snapshot.h"

namespace treekill {

class LiveRun::Impl {
 public:
  virtual ~Impl() = default;

  const LiveRunInfo& info() const { return info_; }

  // kNotFound when it has ended, as of all that follow.
  virtual absl::StatusOr<std::vector<Member>> Members() const = 0;
  virtual absl::StatusOr<std::vector<pid_t>> Pids() const = 0;
  virtual absl::Status SetFrozen(bool frozen, absl::Duration until) = 0;
  // Until a moment of kernel::MonotonicNow().
  virtual absl::StatusOr<bool> AwaitEnd(absl::Duration until) = 0;
  // Lives no longer than this.
  virtual absl::StatusOr<std::unique_ptr<containment::Hold>> MakeHold() = 0;
  // Asks whoever supervises it to keep nobody.
  virtual void MarkEnd() {}
  virtual absl::Status Join() = 0;

 protected:
  explicit Impl(LiveRunInfo info) : info_(std::move(info)) {}

  // Without what only one of the two knows.
  internal::TreeBounds Bounds(
      const std::optional<containment::LeaderMark>& leader) const;

 private:
  LiveRunInfo info_;
};

namespace internal {

using RunImpls = std::vector<std::unique_ptr<LiveRun::Impl>>;

absl::Status FindCgroupRuns(RunImpls* found);
absl::Status FindReaperRuns(RunImpls* found);

// What is told of a run in either case.
LiveRunInfo InfoOf(const std::string& id, const containment::LeafName& name,
                   const containment::OwnerSight& owner);
// Sets the command, and the leader if one of `info->pids` is a child of
// `leaders_parent` (0: it has none any more) and is the one that is marked.
// Without a mark it is the eldest, which may be an orphan if that parent adopts
// them.
void FindLeader(pid_t leaders_parent,
                const std::optional<containment::LeaderMark>& mark,
                LiveRunInfo* info);

// Says who may do it, if `status` is that we may not.
absl::Status WithOwner(const absl::Status& status, const LiveRunInfo& info);

}  // namespace internal
}  // namespace treekill

#endif  // TREEKILL_LIVE_RUN_IMPL_H_
