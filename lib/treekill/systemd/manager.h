// Which systemd is meant.
#ifndef TREEKILL_SYSTEMD_MANAGER_H_
#define TREEKILL_SYSTEMD_MANAGER_H_

namespace treekill {

enum class SystemdManager {
  // The system's for root, the user's own for everybody else.
  kAuto,
  kSystem,
  kUser,
};

}  // namespace treekill

#endif  // TREEKILL_SYSTEMD_MANAGER_H_
