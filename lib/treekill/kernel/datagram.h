// Datagrams to a socket that has a name, unix(7), and the way of those that are
// too long for it: memfd_create(2).
#ifndef TREEKILL_KERNEL_DATAGRAM_H_
#define TREEKILL_KERNEL_DATAGRAM_H_

#include <string>

#include "absl/status/statusor.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

// A descriptor connected to `socket`, a path or "@NAME" in the abstract
// namespace, for Send() of channel.h. Does not wait. StatusErrno() ENOENT or
// ECONNREFUSED: nobody is there.
absl::StatusOr<UniqueFd> ConnectDatagram(const std::string& socket);

// A file in memory with these bytes, which nobody can change any more. `name`
// is what /proc shows for it.
absl::StatusOr<UniqueFd> SealedFile(const std::string& name,
                                    const std::string& bytes);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_DATAGRAM_H_
