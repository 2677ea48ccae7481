// What systemd says of a unit.
#ifndef TREEKILL_SYSTEMD_UNIT_STATE_H_
#define TREEKILL_SYSTEMD_UNIT_STATE_H_

#include <string>

namespace treekill::systemd {

struct UnitState {
  // Which it was asked for may be an alias.
  std::string name;
  // "active", "inactive", "failed", "activating", ...
  std::string active;
  // As in /proc/PID/cgroup; "" when it has none now.
  std::string cgroup;
  // Of a service, Restart=: "no", "always", ...; "" of others.
  std::string restart;
};

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_UNIT_STATE_H_
