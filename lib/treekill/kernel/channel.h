// Two connected sockets that carry whole messages, and descriptors with them:
// unix(7), SOCK_SEQPACKET and SCM_RIGHTS.
#ifndef TREEKILL_KERNEL_CHANNEL_H_
#define TREEKILL_KERNEL_CHANNEL_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

struct Channel {
  UniqueFd near;
  UniqueFd far;
};

absl::StatusOr<Channel> MakeChannel();

// Is the descriptor an end of one?
bool IsChannel(int fd);

// Sends one message, with copies of `fds` (at most kMaxPassedFds). Waits for at
// most `patience` when the channel is full, or when all the processes of this
// user have as many descriptors on their way as this one may have open
// (ETOOMANYREFS, unix(7)).
constexpr size_t kMaxPassedFds = 3;
absl::Status Send(int channel, const void* data, size_t size,
                  const std::vector<int>& fds, absl::Duration patience);

struct Received {
  // 0 when the other end is closed.
  size_t size = 0;
  // Those that came with it; fewer than were sent when there was no room for
  // more (RLIMIT_NOFILE).
  std::vector<UniqueFd> fds;
};

// Takes one message. EAGAIN (StatusErrno()) when there is none. That the other
// end was closed before it had read all (ECONNRESET) is no error: what it has
// sent comes first, and then its end.
absl::StatusOr<Received> Receive(int channel, void* data, size_t size);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_CHANNEL_H_
