#include "cli/bounded_write.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <iterator>

#include "absl/time/clock.h"

namespace treekill::cli {
namespace {

bool IsPipe(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

// So much that poll(2) has said there is room for. The description is not ours
// to make O_NONBLOCK.
ssize_t WriteSome(int fd, bool is_pipe, absl::string_view text) {
  size_t size = std::min<size_t>(text.size(), PIPE_BUF);
  if (is_pipe) {
    iovec piece{const_cast<char*>(text.data()), size};
    ssize_t written = pwritev2(fd, &piece, 1, /*offset=*/-1, RWF_NOWAIT);
    if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) {
      return written;
    }
  }
  return write(fd, text.data(), size);
}

}  // namespace

int WriteWithin(int fd, absl::string_view text, const Patience& patience) {
  absl::Time deadline = absl::Now() + patience.time;
  bool is_pipe = IsPipe(fd);
  while (!text.empty()) {
    int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    int timeout = static_cast<int>(std::clamp<int64_t>(left, 0, 60000));
    pollfd ready[] = {{fd, POLLOUT, 0}, {patience.end_fd, POLLIN, 0}};
    int count = poll(ready, std::size(ready), timeout);
    if (count < 0 && errno != EINTR) return errno;
    bool is_over = ready[1].revents != 0 || absl::Now() >= deadline;
    if (count <= 0 || ready[0].revents == 0) {
      if (is_over) return ETIMEDOUT;
      continue;
    }
    ssize_t written = WriteSome(fd, is_pipe, text);
    if (written < 0 && errno != EINTR && errno != EAGAIN) return errno;
    if (written > 0) text.remove_prefix(written);
  }
  return 0;
}

}  // namespace treekill::cli
