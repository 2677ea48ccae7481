#include "treekill/systemd/notify.h"

#include <cstdlib>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/datagram.h"
#include "treekill/kernel/fd.h"

namespace treekill::systemd {

absl::Status NotifyManager(const std::string& state) {
  const char* socket = secure_getenv("NOTIFY_SOCKET");
  if (socket == nullptr || socket[0] == '\0') return absl::OkStatus();
  absl::StatusOr<kernel::UniqueFd> manager = kernel::ConnectDatagram(socket);
  if (!manager.ok()) return manager.status();
  return kernel::Send(manager->get(), state.data(), state.size(), {},
                      absl::ZeroDuration());
}

}  // namespace treekill::systemd
