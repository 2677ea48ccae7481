#include "treekill/kernel/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

union ControlBuffer {
  cmsghdr header;
  char bytes[CMSG_SPACE(kMaxPassedFds * sizeof(int))];
};

absl::Status SendFailure(int error) {
  return ErrnoStatus(error, "sendmsg", "cannot send a message");
}

// A signal may end it early.
void WaitForRoom(int channel, int error, absl::Duration patience) {
  pollfd room{channel, POLLOUT, 0};
  if (error == ETOOMANYREFS) {
    // Nothing tells when descriptors have arrived.
    room.fd = -1;
    patience = absl::Milliseconds(1);
  }
  Poll(&room, 1,
       static_cast<int>(absl::ToInt64Milliseconds(
           absl::Ceil(patience, absl::Milliseconds(1)))));
}

}  // namespace

absl::StatusOr<Channel> MakeChannel() {
  int fds[2];
  if (SocketPair(fds) < 0) {
    return ErrnoStatus(errno, "socketpair", "cannot make a channel");
  }
  return Channel{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

bool IsChannel(int fd) {
  int type = 0;
  socklen_t size = sizeof(type);
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
         type == SOCK_SEQPACKET;
}

absl::Status Send(int channel, const void* data, size_t size,
                  const std::vector<int>& fds, absl::Duration patience) {
  iovec part{const_cast<void*>(data), size};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    size_t bytes = std::min(fds.size(), kMaxPassedFds) * sizeof(int);
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(bytes);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&control.header), fds.data(), bytes);
  }
  absl::Duration end = absl::ZeroDuration();
  while (SendMessage(channel, message) < 0) {
    int error = errno;
    if (error != EAGAIN && error != ETOOMANYREFS) return SendFailure(error);
    absl::Duration now = MonotonicNow();
    if (end == absl::ZeroDuration()) end = now + patience;
    if (now >= end) return SendFailure(error);
    WaitForRoom(channel, error, end - now);
  }
  return absl::OkStatus();
}

absl::StatusOr<Received> Receive(int channel, void* data, size_t size) {
  iovec part{data, size};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  ssize_t count = ReceiveMessage(channel, &message, MSG_DONTWAIT);
  // Told once, and before what is still to be read: see the header.
  if (count < 0 && errno == ECONNRESET) {
    count = ReceiveMessage(channel, &message, MSG_DONTWAIT);
  }
  if (count < 0) {
    return ErrnoStatus(errno, "recvmsg", "cannot receive a message");
  }
  Received received;
  received.size = static_cast<size_t>(count);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    size_t fds = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < fds; ++i) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      received.fds.emplace_back(fd);
    }
  }
  return received;
}

}  // namespace treekill::kernel
