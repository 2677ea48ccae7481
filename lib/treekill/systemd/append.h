// From a parsed property to a D-Bus message.
#ifndef TREEKILL_SYSTEMD_APPEND_H_
#define TREEKILL_SYSTEMD_APPEND_H_

#include <systemd/sd-bus.h>

#include "treekill/systemd/libsystemd.h"
#include "treekill/systemd/property.h"

namespace treekill::systemd {

// Appends a "(sv)" to an open array of them. Returns -errno on failure.
int AppendProperty(const Libsystemd& lib, sd_bus_message* message,
                   const Property& property);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_APPEND_H_
