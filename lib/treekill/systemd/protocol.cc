#include "treekill/systemd/protocol.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::systemd {
namespace {

// Of a message: below what a socket's buffer takes by default.
constexpr size_t kMaxSize = 64 * 1024;
constexpr absl::Duration kPatience = absl::Seconds(10);

// No argument of a program holds it.
constexpr char kSeparator[] = {'\0'};

int Milliseconds(absl::Duration patience) {
  return static_cast<int>(
      std::clamp<int64_t>(absl::ToInt64Milliseconds(patience), 0, 3600 * 1000));
}

}  // namespace

absl::Status SendWords(int channel, const Words& words) {
  std::string text = absl::StrJoin(words, absl::string_view(kSeparator, 1));
  if (text.size() > kMaxSize) {
    return absl::InvalidArgumentError("too many or too long unit properties");
  }
  return kernel::Send(channel, text.data(), text.size(), {}, kPatience);
}

absl::StatusOr<Words> ReceiveWords(int channel, absl::Duration patience,
                                   int cancel_fd) {
  pollfd fds[] = {{channel, POLLIN, 0}, {cancel_fd, POLLIN, 0}};
  int ready = 0;
  do {
    ready = kernel::Poll(fds, std::size(fds), Milliseconds(patience));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) return absl::DeadlineExceededError("no answer");
  if (fds[0].revents == 0 && fds[1].revents != 0) {
    return absl::CancelledError("cancelled");
  }
  std::string text(kMaxSize, '\0');
  absl::StatusOr<kernel::Received> received =
      kernel::Receive(channel, text.data(), text.size());
  if (!received.ok()) return received.status();
  text.resize(received->size);
  if (text.empty()) return Words();
  return Words(absl::StrSplit(text, kSeparator[0]));
}

}  // namespace treekill::systemd
