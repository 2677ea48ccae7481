// The end of a tree whose supervisor is gone: what is left of its teardown,
// until nothing of it is alive and the leaf is removed.
#ifndef TREEKILL_GUARDIAN_FINISH_H_
#define TREEKILL_GUARDIAN_FINISH_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "treekill/containment/hold.h"

namespace treekill::guardian {

struct Step {
  int signal = 0;
  absl::Duration grace;
};

// What the supervisor would still have done. By default: SIGKILL, now.
struct RestOfTeardown {
  // A moment of kernel::MonotonicNow() until which those that have been sent a
  // signal may react.
  absl::Duration grace_end;
  // Then these, to the members of the process group (0: to all).
  std::vector<Step> steps;
  pid_t only_group = 0;
  // How long after SIGKILL a member may take to die.
  absl::Duration drain_timeout = absl::Seconds(10);
};

// Ends one tree. Nothing here blocks.
class Finisher final {
 public:
  Finisher(std::unique_ptr<containment::Hold> hold, RestOfTeardown rest);

  // Does what is due. Returns when it wants to be called again, at the latest:
  // a moment of kernel::MonotonicNow(); infinite when it has ended.
  absl::Duration Advance();

  // Ready for event_mask(), as poll(2) takes it, when Advance() has something
  // to see; -1 for never.
  int events_fd() const { return hold_->events_fd(); }
  int16_t event_mask() const {
    return static_cast<int16_t>(hold_->event_mask());
  }

  bool ended() const { return ended_; }
  // SIGKILL was sent.
  bool killed() const { return drain_end_ != absl::InfiniteDuration(); }
  // OK: nothing is alive, and the leaf is gone.
  const absl::Status& result() const { return result_; }

  containment::Hold& hold() { return *hold_; }

 private:
  absl::Duration AskAgain(absl::Duration until);
  // True when the leaf is gone.
  bool TryRemove();

  std::unique_ptr<containment::Hold> hold_;
  RestOfTeardown rest_;
  size_t next_step_ = 0;
  absl::Duration drain_end_ = absl::InfiniteDuration();
  absl::Duration ask_;
  bool ended_ = false;
  absl::Status result_;
};

// Advances all of them until each has ended. Blocks for as long as their grace
// and drain times.
void FinishAll(std::vector<Finisher>* finishers);

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_FINISH_H_
