#include "treekill/kernel/syscalls.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace treekill::kernel {
namespace {

std::atomic<FaultHook> fault_hook{nullptr};

template <typename Call>
auto RetryInterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

}  // namespace

// With standard error closed, a new descriptor would be number 2 and receive
// whatever the host prints: into cgroup.kill, at worst.
int AboveStandardStreams(int fd) {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  int error = errno;
  close(fd);
  errno = error;
  return moved;
}

namespace {

int BothAboveStandardStreams(int fds[2]) {
  fds[0] = AboveStandardStreams(fds[0]);
  fds[1] = AboveStandardStreams(fds[1]);
  if (fds[0] >= 0 && fds[1] >= 0) return 0;
  int error = errno;
  if (fds[0] >= 0) close(fds[0]);
  if (fds[1] >= 0) close(fds[1]);
  errno = error;
  return -1;
}

}  // namespace

void SetFaultHookForTesting(FaultHook hook) { fault_hook.store(hook); }

bool FaultInjected(const char* call, const char* path) {
  FaultHook hook = fault_hook.load(std::memory_order_relaxed);
  if (hook == nullptr) return false;
  int error = hook(call, path == nullptr ? "" : path);
  if (error != 0) errno = error;
  return error != 0;
}

int Openat(int directory, const char* path, int flags) {
  if (FaultInjected("open", path)) return -1;
  return AboveStandardStreams(RetryInterrupted(
      [&] { return openat(directory, path, flags | O_CLOEXEC); }));
}

ssize_t Read(int fd, void* buffer, size_t size, const char* path) {
  if (FaultInjected("read", path)) return -1;
  return RetryInterrupted([&] { return read(fd, buffer, size); });
}

ssize_t Pread(int fd, void* buffer, size_t size, off_t offset,
              const char* path) {
  if (FaultInjected("read", path)) return -1;
  return RetryInterrupted([&] { return pread(fd, buffer, size, offset); });
}

ssize_t Write(int fd, const void* buffer, size_t size, const char* path) {
  if (FaultInjected("write", path)) return -1;
  return RetryInterrupted([&] { return write(fd, buffer, size); });
}

int Mkdirat(int directory, const char* path, mode_t mode) {
  if (FaultInjected("mkdir", path)) return -1;
  return mkdirat(directory, path, mode);
}

int Rmdirat(int directory, const char* path) {
  if (FaultInjected("rmdir", path)) return -1;
  return unlinkat(directory, path, AT_REMOVEDIR);
}

int Pipe(int fds[2]) {
  if (FaultInjected("pipe2")) return -1;
  if (pipe2(fds, O_CLOEXEC) < 0) return -1;
  return BothAboveStandardStreams(fds);
}

int SocketPair(int fds[2]) {
  if (FaultInjected("socketpair")) return -1;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) return -1;
  return BothAboveStandardStreams(fds);
}

ssize_t SendMessage(int fd, const msghdr& message) {
  if (FaultInjected("sendmsg")) return -1;
  return RetryInterrupted(
      [&] { return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
}

ssize_t ReceiveMessage(int fd, msghdr* message, int flags) {
  if (FaultInjected("recvmsg")) return -1;
  return RetryInterrupted(
      [&] { return recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC); });
}

int SetAttribute(int fd, const char* name, const char* value, size_t size) {
  if (FaultInjected("setxattr", name)) return -1;
  return fsetxattr(fd, name, value, size, 0);
}

int PidfdOpen(pid_t pid) {
  if (FaultInjected("pidfd_open")) return -1;
  return AboveStandardStreams(
      static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

int PidfdSendSignal(int pidfd, int signal) {
  if (FaultInjected("pidfd_send_signal")) return -1;
  return static_cast<int>(
      syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

int PidfdSendSignalToGroup(int pidfd, int signal) {
  // PIDFD_SIGNAL_PROCESS_GROUP, which Debian 12's headers do not have.
  constexpr unsigned kProcessGroup = 1 << 2;
  if (FaultInjected("pidfd_send_signal", "group")) return -1;
  return static_cast<int>(
      syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, kProcessGroup));
}

int Kill(pid_t pid, int signal) {
  if (FaultInjected("kill")) return -1;
  return kill(pid, signal);
}

int Waitid(int id_type, id_t id, siginfo_t* info, int options, rusage* usage) {
  if (FaultInjected("waitid")) return -1;
  return RetryInterrupted([&] {
    return static_cast<int>(
        syscall(SYS_waitid, id_type, id, info, options, usage));
  });
}

int Poll(pollfd* fds, unsigned count, int timeout_ms) {
  if (FaultInjected("poll")) return -1;
  return poll(fds, count, timeout_ms);
}

int EpollCreate() {
  if (FaultInjected("epoll_create")) return -1;
  return AboveStandardStreams(epoll_create1(EPOLL_CLOEXEC));
}

int EpollCtl(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
  if (FaultInjected("epoll_ctl")) return -1;
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return epoll_ctl(epoll, operation, fd, &event);
}

int EpollWait(int epoll, epoll_event* events, int count, int timeout_ms) {
  if (FaultInjected("epoll_wait")) return -1;
  return epoll_wait(epoll, events, count, timeout_ms);
}

int TimerfdCreate() {
  if (FaultInjected("timerfd_create")) return -1;
  return AboveStandardStreams(
      timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

int TimerfdSettime(int fd, const itimerspec& when) {
  if (FaultInjected("timerfd_settime")) return -1;
  return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, nullptr);
}

}  // namespace treekill::kernel
