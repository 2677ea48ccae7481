// A datagram to a socket that has a name: unix(7).
#ifndef TREEKILL_KERNEL_DATAGRAM_H_
#define TREEKILL_KERNEL_DATAGRAM_H_

#include <string>

#include "absl/status/status.h"

namespace treekill::kernel {

// `socket` is a path, or "@NAME" in the abstract namespace. Does not wait for
// a receiver that has no room.
absl::Status SendDatagram(const std::string& socket, const std::string& data);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_DATAGRAM_H_
