// One epoll descriptor with one timer in it: epoll(7), timerfd_create(2).
#ifndef TREEKILL_KERNEL_EVENT_LOOP_H_
#define TREEKILL_KERNEL_EVENT_LOOP_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

// Time since boot, the machine's sleep not counted: CLOCK_MONOTONIC.
absl::Duration MonotonicNow();

// Time since boot, the machine's sleep counted: CLOCK_BOOTTIME.
absl::Duration BootTimeNow();

// Waits until `fd` is ready for `events`, as poll(2) has them, but for a second
// at most: not every file wakes who waits when what it tells of is removed.
// False, and no wait, when `until`, a moment of MonotonicNow(), has come.
bool PollUntil(int fd, int16_t events, absl::Duration until);

class EventLoop final {
 public:
  // What Poll() returns when the timer is over.
  static constexpr uint64_t kTimer = 0;

  static absl::StatusOr<EventLoop> Create();

  // Makes Poll() return `key` when `fd` is ready for `events` (EPOLLIN, ...),
  // as long as it is.
  absl::Status Watch(int fd, uint32_t events, uint64_t key);
  void Forget(int fd);

  // Sets the one timer to a moment of MonotonicNow(), in the past for at once;
  // infinite for never.
  absl::Status SetTimer(absl::Duration moment);

  // The keys of what is ready, after waiting for at most `timeout`; none when
  // there was a signal.
  absl::StatusOr<std::vector<uint64_t>> Poll(absl::Duration timeout);

  int fd() const { return epoll_.get(); }

 private:
  EventLoop(UniqueFd epoll, UniqueFd timer)
      : epoll_(std::move(epoll)), timer_(std::move(timer)) {}

  UniqueFd epoll_;
  UniqueFd timer_;
  absl::Duration moment_ = absl::InfiniteDuration();
};

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_EVENT_LOOP_H_
