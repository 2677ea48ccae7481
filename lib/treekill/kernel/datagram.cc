#include "treekill/kernel/datagram.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {

absl::Status SendDatagram(const std::string& socket, const std::string& data) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string what = absl::StrCat("cannot send to ", socket);
  if (socket.empty() || socket.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": no name of a socket"));
  }
  memcpy(address.sun_path, socket.data(), socket.size());
  if (socket[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(
      AboveStandardStreams(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
  if (!fd.valid()) return ErrnoStatus(errno, "socket", what);
  auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket.size());
  if (sendto(fd.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
             reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    return ErrnoStatus(errno, "sendto", what);
  }
  return absl::OkStatus();
}

}  // namespace treekill::kernel
