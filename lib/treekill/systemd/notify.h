// What a service says to its manager: sd_notify(3).
#ifndef TREEKILL_SYSTEMD_NOTIFY_H_
#define TREEKILL_SYSTEMD_NOTIFY_H_

#include <string>

#include "absl/status/status.h"

namespace treekill::systemd {

// Sends `state`, such as "READY=1", to $NOTIFY_SOCKET; OK without one.
absl::Status NotifyManager(const std::string& state);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_NOTIFY_H_
