// A unit of any kind, whoever has made it: org.freedesktop.systemd1(5).
#ifndef TREEKILL_SYSTEMD_UNIT_H_
#define TREEKILL_SYSTEMD_UNIT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/systemd/bus.h"
#include "treekill/systemd/libsystemd.h"
#include "treekill/systemd/manager.h"
#include "treekill/systemd/unit_state.h"

namespace treekill::systemd {

constexpr char kUnitInterface[] = "org.freedesktop.systemd1.Unit";

// kNotFound: the manager knows of no such unit. kInvalidArgument: units of that
// kind have no processes. kUnavailable: there is no manager to be reached.
absl::StatusOr<UnitState> QueryUnit(const Libsystemd& lib,
                                    SystemdManager manager,
                                    const std::string& unit);

// A property of type "s". To ask for one makes the manager load the unit.
absl::StatusOr<std::string> ReadUnitProperty(const Libsystemd& lib,
                                             const BusHandle& bus,
                                             const std::string& unit,
                                             const std::string& interface,
                                             const char* name);

// KillUnit(): sends `signal` to every process of the unit.
absl::Status SignalUnit(const Libsystemd& lib, SystemdManager manager,
                        const std::string& unit, int signal);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_UNIT_H_
