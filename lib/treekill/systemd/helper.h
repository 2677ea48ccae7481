// The program treekill-systemd: speaks to systemd for a treekill that has
// started it, so that libsystemd is in neither a host nor the static command
// line tool, and a bus that hangs can be left alone. It ends with its channel.
#ifndef TREEKILL_SYSTEMD_HELPER_H_
#define TREEKILL_SYSTEMD_HELPER_H_

namespace treekill::systemd {

// Serves the channel of protocol.h; returns the exit status.
int HelperMain();

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_HELPER_H_
