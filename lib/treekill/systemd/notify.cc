#include "treekill/systemd/notify.h"

#include <cstdlib>

#include "treekill/kernel/datagram.h"

namespace treekill::systemd {

absl::Status NotifyManager(const std::string& state) {
  const char* socket = secure_getenv("NOTIFY_SOCKET");
  if (socket == nullptr || socket[0] == '\0') return absl::OkStatus();
  return kernel::SendDatagram(socket, state);
}

}  // namespace treekill::systemd
