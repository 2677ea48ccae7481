// What systemd says of a unit.
#ifndef TREEKILL_SYSTEMD_UNIT_STATE_H_
#define TREEKILL_SYSTEMD_UNIT_STATE_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace treekill::systemd {

struct UnitState {
  // Which it was asked for may be an alias.
  std::string name;
  // ActiveState= and SubState=: "active" and "running", "inactive" and "dead",
  // ...
  std::string active;
  std::string sub;
  // As in /proc/PID/cgroup; "" when it has none now.
  std::string cgroup;
  // Of a service, Restart=: "no", "always", ...; "" of others.
  std::string restart;
  // Another after each start.
  std::string invocation;
  // Some of its processes, those of nested cgroups included; none when it has
  // none.
  std::vector<pid_t> processes;
};

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_UNIT_STATE_H_
