#include "treekill/kernel/event_loop.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

int ToMilliseconds(absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) return -1;
  // Up, so that the end of the wait is not before the end of the time.
  int64_t milliseconds =
      absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  return static_cast<int>(std::clamp<int64_t>(milliseconds, 0, INT_MAX));
}

}  // namespace

absl::Duration MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

absl::Duration BootTimeNow() {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return absl::DurationFromTimespec(now);
}

bool PollUntil(int fd, int16_t events, absl::Duration until) {
  constexpr absl::Duration kLongest = absl::Seconds(1);
  absl::Duration left = until - MonotonicNow();
  if (left <= absl::ZeroDuration()) return false;
  pollfd ready{fd, events, 0};
  kernel::Poll(&ready, 1, ToMilliseconds(std::min(left, kLongest)));
  return true;
}

absl::StatusOr<EventLoop> EventLoop::Create() {
  UniqueFd epoll(EpollCreate());
  if (!epoll.valid()) {
    return ErrnoStatus(errno, "epoll_create", "cannot watch for events");
  }
  UniqueFd timer(TimerfdCreate());
  if (!timer.valid()) {
    return ErrnoStatus(errno, "timerfd_create", "cannot watch the time");
  }
  EventLoop loop(std::move(epoll), std::move(timer));
  absl::Status watched = loop.Watch(loop.timer_.get(), EPOLLIN, kTimer);
  if (!watched.ok()) return watched;
  return loop;
}

absl::Status EventLoop::Watch(int fd, uint32_t events, uint64_t key) {
  if (EpollCtl(epoll_.get(), EPOLL_CTL_ADD, fd, events, key) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "epoll_ctl", "cannot watch for events");
}

void EventLoop::Forget(int fd) {
  EpollCtl(epoll_.get(), EPOLL_CTL_DEL, fd, 0, 0);
}

absl::Status EventLoop::SetTimer(absl::Duration moment) {
  if (moment == moment_) return absl::OkStatus();
  itimerspec when{};
  if (moment != absl::InfiniteDuration()) {
    // All zeros would disarm it.
    when.it_value = absl::ToTimespec(std::max(moment, absl::Nanoseconds(1)));
  }
  if (TimerfdSettime(timer_.get(), when) < 0) {
    return ErrnoStatus(errno, "timerfd_settime", "cannot watch the time");
  }
  moment_ = moment;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> EventLoop::Poll(absl::Duration timeout) {
  epoll_event events[64];
  int count = EpollWait(epoll_.get(), events, std::size(events),
                        ToMilliseconds(timeout));
  if (count < 0 && errno != EINTR) {
    return ErrnoStatus(errno, "epoll_wait", "cannot watch for events");
  }
  std::vector<uint64_t> keys;
  for (int i = 0; i < count; ++i) {
    // A copy: the kernel's structure is packed.
    uint64_t key = events[i].data.u64;
    keys.push_back(key);
  }
  return keys;
}

}  // namespace treekill::kernel
