#include "treekill/kernel/datagram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

int DatagramSocket() {
  if (FaultInjected("socket")) return -1;
  return AboveStandardStreams(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

int Connect(int fd, const sockaddr_un& address, size_t name_size) {
  if (FaultInjected("connect", address.sun_path)) return -1;
  auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_size);
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), size);
}

int CreateMemfd(const char* name) {
  if (FaultInjected("memfd_create", name)) return -1;
  return AboveStandardStreams(
      memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectDatagram(const std::string& socket) {
  std::string what = absl::StrCat("cannot connect to ", socket);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.empty() || socket.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": no name of a socket"));
  }
  memcpy(address.sun_path, socket.data(), socket.size());
  if (socket[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(DatagramSocket());
  if (!fd.valid()) return ErrnoStatus(errno, "socket", what);
  if (Connect(fd.get(), address, socket.size()) < 0) {
    return ErrnoStatus(errno, "connect", what);
  }
  return fd;
}

absl::StatusOr<UniqueFd> SealedFile(const std::string& name,
                                    const std::string& bytes) {
  std::string what =
      absl::StrCat("cannot make a file in memory of ", bytes.size(), " bytes");
  UniqueFd fd(CreateMemfd(name.c_str()));
  if (!fd.valid()) return ErrnoStatus(errno, "memfd_create", what);
  for (size_t done = 0; done < bytes.size();) {
    ssize_t count = Write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0) return ErrnoStatus(errno, "write", what);
    done += static_cast<size_t>(count);
  }
  constexpr int kSeals =
      F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) < 0) {
    return ErrnoStatus(errno, "fcntl", what);
  }
  return fd;
}

}  // namespace treekill::kernel
