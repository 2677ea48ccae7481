// libsystemd, loaded when it is first needed: a machine without it has no bus
// to speak to either. Only the program treekill-systemd uses it, so that no
// host and no command line tool pays for its start, its memory or its threads.
#ifndef TREEKILL_SYSTEMD_LIBSYSTEMD_H_
#define TREEKILL_SYSTEMD_LIBSYSTEMD_H_

#include <systemd/sd-bus.h>

#include "absl/status/statusor.h"

namespace treekill::systemd {

// The functions that are used, by their names: see sd-bus(3).
#define TREEKILL_LIBSYSTEMD_FUNCTIONS(X) \
  X(sd_bus_call)                         \
  X(sd_bus_error_free)                   \
  X(sd_bus_flush_close_unref)            \
  X(sd_bus_get_property)                 \
  X(sd_bus_get_property_string)          \
  X(sd_bus_get_unique_name)              \
  X(sd_bus_match_signal_async)           \
  X(sd_bus_message_append)               \
  X(sd_bus_message_append_array)         \
  X(sd_bus_message_close_container)      \
  X(sd_bus_message_enter_container)      \
  X(sd_bus_message_get_path)             \
  X(sd_bus_message_get_sender)           \
  X(sd_bus_message_new_method_call)      \
  X(sd_bus_message_open_container)       \
  X(sd_bus_message_read)                 \
  X(sd_bus_message_read_array)           \
  X(sd_bus_message_unref)                \
  X(sd_bus_new)                          \
  X(sd_bus_get_fd)                       \
  X(sd_bus_path_decode)                  \
  X(sd_bus_path_encode)                  \
  X(sd_bus_process)                      \
  X(sd_bus_set_address)                  \
  X(sd_bus_set_bus_client)               \
  X(sd_bus_start)                        \
  X(sd_bus_wait)

struct Libsystemd {
#define TREEKILL_FUNCTION(name) decltype(&::name) name = nullptr;
  TREEKILL_LIBSYSTEMD_FUNCTIONS(TREEKILL_FUNCTION)
#undef TREEKILL_FUNCTION

  // It is of systemd 255 or newer, and so, most likely, is the manager.
  bool is_255 = false;
};

// The table; it stays loaded until the process ends. The error says what to
// install.
absl::StatusOr<const Libsystemd*> LoadLibsystemd();

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_LIBSYSTEMD_H_
