#include "treekill/systemd/unit.h"

#include <cstdint>
#include <cstdlib>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace treekill::systemd {
namespace {

constexpr uint64_t kPatienceUsec = 15'000'000;

// "": units of that kind have no processes.
std::string InterfaceOf(const std::string& unit) {
  static const auto* interfaces = new std::map<std::string, std::string>{
      {"service", "Service"}, {"scope", "Scope"}, {"slice", "Slice"},
      {"socket", "Socket"},   {"mount", "Mount"}, {"swap", "Swap"}};
  auto found = interfaces->find(unit.substr(unit.rfind('.') + 1));
  if (found == interfaces->end()) return "";
  return absl::StrCat("org.freedesktop.systemd1.", found->second);
}

absl::StatusOr<UnitState> Query(const Libsystemd& lib, const BusHandle& bus,
                                const std::string& unit,
                                const std::string& interface) {
  absl::Status status;
  auto read = [&](const std::string& from, const char* name) -> std::string {
    if (!status.ok()) return "";
    absl::StatusOr<std::string> text =
        ReadUnitProperty(lib, bus, unit, from, name);
    if (text.ok()) return *std::move(text);
    status = text.status();
    return "";
  };
  if (read(kUnitInterface, "LoadState") == "not-found") {
    return absl::NotFoundError(absl::StrCat("there is no unit ", unit));
  }
  UnitState state;
  state.name = read(kUnitInterface, "Id");
  state.active = read(kUnitInterface, "ActiveState");
  state.cgroup = read(interface, "ControlGroup");
  if (interface == InterfaceOf(".service")) {
    state.restart = read(interface, "Restart");
  }
  if (!status.ok()) return status;
  return state;
}

absl::Status Kill(const Libsystemd& lib, const BusHandle& bus,
                  const std::string& unit, int signal) {
  sd_bus_message* made = nullptr;
  int result = lib.sd_bus_message_new_method_call(
      bus.get(), &made, kService, kManagerPath, kManagerInterface, "KillUnit");
  Message message(made, {&lib});
  if (result >= 0) {
    result =
        lib.sd_bus_message_append(made, "ssi", unit.c_str(), "all", signal);
  }
  BusError error(lib);
  if (result >= 0) {
    result =
        lib.sd_bus_call(bus.get(), made, kPatienceUsec, error.get(), nullptr);
  }
  if (result >= 0 || error.Is("org.freedesktop.systemd1.NoSuchProcess")) {
    return absl::OkStatus();
  }
  return error.ToStatus(absl::StrCat("systemd does not signal ", unit), result);
}

}  // namespace

absl::StatusOr<std::string> ReadUnitProperty(const Libsystemd& lib,
                                             const BusHandle& bus,
                                             const std::string& unit,
                                             const std::string& interface,
                                             const char* name) {
  char* path = nullptr;
  char* text = nullptr;
  BusError error(lib);
  int result = lib.sd_bus_path_encode(kUnitsPath, unit.c_str(), &path);
  if (result >= 0) {
    result = lib.sd_bus_get_property_string(
        bus.get(), kService, path, interface.c_str(), name, error.get(), &text);
  }
  free(path);
  if (result < 0) {
    return error.ToStatus(
        absl::StrCat("cannot ask systemd for ", name, " of ", unit), result);
  }
  std::string value = text;
  free(text);
  return value;
}

absl::StatusOr<UnitState> QueryUnit(const Libsystemd& lib,
                                    SystemdManager manager,
                                    const std::string& unit) {
  std::string interface = InterfaceOf(unit);
  if (interface.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(unit,
                     " has no processes of its own; services, scopes and "
                     "slices have"));
  }
  absl::StatusOr<UnitState> state;
  absl::Status asked =
      TryAddresses(manager, "there is no systemd to ask for a unit",
                   [&](const BusAddress& address) {
                     absl::StatusOr<BusHandle> bus = OpenBus(lib, address);
                     if (!bus.ok()) return bus.status();
                     state = Query(lib, *bus, unit, interface);
                     return state.status();
                   });
  if (!asked.ok()) return asked;
  return state;
}

absl::Status SignalUnit(const Libsystemd& lib, SystemdManager manager,
                        const std::string& unit, int signal) {
  return TryAddresses(manager, "there is no systemd to signal a unit",
                      [&](const BusAddress& address) {
                        absl::StatusOr<BusHandle> bus = OpenBus(lib, address);
                        if (!bus.ok()) return bus.status();
                        return Kill(lib, *bus, unit, signal);
                      });
}

}  // namespace treekill::systemd
