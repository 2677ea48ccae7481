#include "tests/rig/leaping_clock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>

namespace {

constexpr time_t kLeapSeconds = 3600;
constexpr int kMostFds = 64;

// Leaked, as calls come until the end of the program.
std::string* leap_file = nullptr;
int watch = -1;
time_t offset_seconds = 0;
// The last timer that was set. There is one a program.
int timer = -1;

void LeapIfItIsThere() {
  if (watch < 0 || access(leap_file->c_str(), F_OK) != 0) return;
  close(watch);
  watch = -1;
  offset_seconds = kLeapSeconds;
  itimerspec when;
  if (timer < 0 || timerfd_gettime(timer, &when) < 0) return;
  bool is_set = when.it_value.tv_sec != 0 || when.it_value.tv_nsec != 0;
  if (!is_set) return;
  // No limit of more than an hour may be set beside a leap.
  itimerspec now{};
  now.it_value.tv_nsec = 1;
  syscall(SYS_timerfd_settime, timer, 0, &now, nullptr);
}

// Waits until one of `fds` is ready or there is the file.
int PollWithWatch(pollfd* fds, nfds_t count, int timeout) {
  if (watch < 0 || count >= kMostFds) {
    return static_cast<int>(syscall(SYS_poll, fds, count, timeout));
  }
  pollfd all[kMostFds];
  for (nfds_t i = 0; i < count; ++i) all[i] = fds[i];
  all[count] = {watch, POLLIN, 0};
  int ready = static_cast<int>(syscall(SYS_poll, all, count + 1, timeout));
  if (ready < 0) return ready;
  for (nfds_t i = 0; i < count; ++i) fds[i].revents = all[i].revents;
  if (all[count].revents == 0) return ready;
  char events[4096];
  ssize_t length = read(watch, events, sizeof(events));
  if (length < 0) abort();
  LeapIfItIsThere();
  --ready;
  // What the leap has made ready is seen by the next call.
  if (ready == 0) errno = EINTR;
  return ready == 0 ? -1 : ready;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  // Whoever was stopped, and did not wait here, sees the leap as well.
  if (clock == CLOCK_MONOTONIC) {
    int error = errno;
    LeapIfItIsThere();
    errno = error;
  }
  int result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  if (result == 0 && clock == CLOCK_MONOTONIC) now->tv_sec += offset_seconds;
  return result;
}

int timerfd_settime(int fd, int flags, const itimerspec* when,
                    itimerspec* before) noexcept {
  timer = fd;
  itimerspec moved = *when;
  if ((flags & TFD_TIMER_ABSTIME) != 0 && moved.it_value.tv_sec != 0) {
    moved.it_value.tv_sec -= offset_seconds;
    if (moved.it_value.tv_sec < 0) moved.it_value = {0, 1};
  }
  return static_cast<int>(
      syscall(SYS_timerfd_settime, fd, flags, &moved, before));
}

int poll(pollfd* fds, nfds_t count, int timeout) {
  return PollWithWatch(fds, count, timeout);
}

int epoll_wait(int epoll, epoll_event* events, int size, int timeout) {
  pollfd ready{epoll, POLLIN, 0};
  if (PollWithWatch(&ready, 1, timeout) < 0) return -1;
  return static_cast<int>(
      syscall(SYS_epoll_pwait, epoll, events, size, 0, nullptr, 0));
}

}  // extern "C"

namespace treekill::rig {

void LeapWhenThereIs(const char* file) {
  leap_file = new std::string(file);
  std::string folder = leap_file->substr(0, leap_file->rfind('/'));
  int fd = inotify_init1(IN_CLOEXEC);
  // Out of the way of what a test says of descriptors.
  watch = fcntl(fd, F_DUPFD_CLOEXEC, 500);
  close(fd);
  if (watch < 0 ||
      inotify_add_watch(watch, folder.c_str(), IN_CREATE | IN_MOVED_TO) < 0) {
    abort();
  }
  LeapIfItIsThere();
}

}  // namespace treekill::rig
