// A connection to a systemd manager over D-Bus: sd-bus(3), and
// org.freedesktop.systemd1(5) for what is said there.
#ifndef TREEKILL_SYSTEMD_BUS_H_
#define TREEKILL_SYSTEMD_BUS_H_

#include <systemd/sd-bus.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/systemd/libsystemd.h"
#include "treekill/systemd/manager.h"

namespace treekill::systemd {

constexpr char kService[] = "org.freedesktop.systemd1";
constexpr char kManagerPath[] = "/org/freedesktop/systemd1";
constexpr char kUnitsPath[] = "/org/freedesktop/systemd1/unit";
constexpr char kManagerInterface[] = "org.freedesktop.systemd1.Manager";

// What a manager or a bus has answered; "" as the name: it has not.
class BusError final {
 public:
  explicit BusError(const Libsystemd& lib) : lib_(lib) {}
  ~BusError() { lib_.sd_bus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;

  sd_bus_error* get() { return &error_; }
  std::string name() const { return error_.name ? error_.name : ""; }
  std::string message() const { return error_.message ? error_.message : ""; }
  bool Is(const char* name) const { return this->name() == name; }
  // Is there a manager at the other end at all?
  bool MeansNobody() const;
  // For `result`, the -errno of the call that has filled it in.
  absl::Status ToStatus(const std::string& what, int result) const;

 private:
  const Libsystemd& lib_;
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

struct MessageUnref {
  const Libsystemd* lib;
  void operator()(sd_bus_message* message) const {
    lib->sd_bus_message_unref(message);
  }
};
using Message = std::unique_ptr<sd_bus_message, MessageUnref>;

struct BusClose {
  const Libsystemd* lib;
  void operator()(sd_bus* bus) const { lib->sd_bus_flush_close_unref(bus); }
};
using BusHandle = std::unique_ptr<sd_bus, BusClose>;

struct BusAddress {
  std::string address;
  // A message bus; else the manager's private socket, where nobody has a name.
  bool is_bus = true;
};

// Is it the system's that is meant?
bool IsSystems(SystemdManager manager);

// Where that manager may be reached, the best first: the bus that the
// environment names, the one at its usual place, the private socket.
std::vector<BusAddress> AddressesOf(SystemdManager manager);

// Does `attempt` at one address of the manager after the other, while it comes
// to kUnavailable: whether there is a manager behind an address shows with its
// first answer. When nobody was there the error begins with `nobody`.
absl::Status TryAddresses(
    SystemdManager manager, const std::string& nobody,
    const std::function<absl::Status(const BusAddress&)>& attempt);

// kUnavailable when there is nobody.
absl::StatusOr<BusHandle> OpenBus(const Libsystemd& lib,
                                  const BusAddress& address);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_BUS_H_
