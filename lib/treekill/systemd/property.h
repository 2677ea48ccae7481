// What a user may ask of a transient scope, as `systemd-run --scope -p` has it:
// systemd.resource-control(5), systemd.kill(5), systemd.scope(5) and
// systemd.unit(5), in the types that org.freedesktop.systemd1(5) wants.
#ifndef TREEKILL_SYSTEMD_PROPERTY_H_
#define TREEKILL_SYSTEMD_PROPERTY_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace treekill::systemd {

struct IpPrefix {
  int32_t family = 0;          // AF_INET or AF_INET6.
  std::vector<uint8_t> bytes;  // 4 or 16, in network order.
  uint32_t length = 0;         // In bits.

  bool operator==(const IpPrefix&) const = default;
};

using PropertyValue =
    std::variant<bool,                                              // b
                 int32_t,                                           // i
                 uint32_t,                                          // u
                 uint64_t,                                          // t
                 std::string,                                       // s
                 std::vector<std::string>,                          // as
                 std::vector<uint8_t>,                              // ay
                 std::vector<std::pair<std::string, uint64_t>>,     // a(st)
                 std::vector<std::pair<std::string, std::string>>,  // a(ss)
                 std::vector<IpPrefix>>;                            // a(iayu)

// The type of what `value` holds, as D-Bus writes it.
const char* SignatureOf(const PropertyValue& value);

struct Property {
  // Not always what the user wrote: "CPUQuota" is "CPUQuotaPerSecUSec".
  std::string name;
  std::string signature;
  PropertyValue value;
};

// What "NAME=VALUE" means to the service manager. kInvalidArgument, in one
// line: an unknown name, one that is not for scopes, or a value that it does
// not take.
absl::StatusOr<Property> ParseProperty(absl::string_view assignment);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_PROPERTY_H_
