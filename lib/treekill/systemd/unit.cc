#include "treekill/systemd/unit.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

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

// Calls a method of the manager's that takes a unit's name first.
class UnitCall final {
 public:
  UnitCall(const Libsystemd& lib, const BusHandle& bus, const char* method,
           const std::string& unit)
      : lib_(lib), bus_(bus), error_(lib) {
    sd_bus_message* made = nullptr;
    result_ = lib.sd_bus_message_new_method_call(
        bus.get(), &made, kService, kManagerPath, kManagerInterface, method);
    message_.reset(made);
    if (result_ >= 0) {
      result_ = lib.sd_bus_message_append(made, "s", unit.c_str());
    }
  }

  void Append(const char* who, int signal) {
    if (result_ < 0) return;
    result_ = lib_.sd_bus_message_append(message_.get(), "si", who, signal);
  }

  // The answer; null when there is an error().
  sd_bus_message* Call() {
    sd_bus_message* answered = nullptr;
    if (result_ >= 0) {
      result_ = lib_.sd_bus_call(bus_.get(), message_.get(), kPatienceUsec,
                                 error_.get(), &answered);
    }
    answer_.reset(answered);
    return answered;
  }

  const BusError& error() const { return error_; }
  absl::Status ToStatus(const std::string& what) const {
    return result_ >= 0 ? absl::OkStatus() : error_.ToStatus(what, result_);
  }

 private:
  const Libsystemd& lib_;
  const BusHandle& bus_;
  Message message_{nullptr, MessageUnref{&lib_}};
  Message answer_{nullptr, MessageUnref{&lib_}};
  BusError error_;
  int result_ = 0;
};

// Of which there may be thousands: some.
absl::StatusOr<std::vector<pid_t>> ReadProcesses(const Libsystemd& lib,
                                                 const BusHandle& bus,
                                                 const std::string& unit) {
  constexpr size_t kSome = 64;
  UnitCall call(lib, bus, "GetUnitProcesses", unit);
  sd_bus_message* answer = call.Call();
  // It has been forgotten since.
  if (call.error().Is("org.freedesktop.systemd1.NoSuchUnit")) {
    return std::vector<pid_t>();
  }
  if (answer == nullptr) {
    return call.ToStatus(
        absl::StrCat("cannot ask systemd for the processes of ", unit));
  }
  std::vector<pid_t> processes;
  lib.sd_bus_message_enter_container(answer, 'a', "(sus)");
  const char* cgroup = nullptr;
  const char* command = nullptr;
  uint32_t pid = 0;
  while (processes.size() < kSome &&
         lib.sd_bus_message_read(answer, "(sus)", &cgroup, &pid, &command) >
             0) {
    processes.push_back(static_cast<pid_t>(pid));
  }
  return processes;
}

std::string ReadInvocation(const Libsystemd& lib, const BusHandle& bus,
                           const std::string& path) {
  sd_bus_message* answered = nullptr;
  const void* bytes = nullptr;
  size_t size = 0;
  if (lib.sd_bus_get_property(bus.get(), kService, path.c_str(), kUnitInterface,
                              "InvocationID", nullptr, &answered, "ay") < 0) {
    return "";
  }
  Message answer(answered, {&lib});
  lib.sd_bus_message_read_array(answered, 'y', &bytes, &size);
  return absl::BytesToHexString(
      absl::string_view(static_cast<const char*>(bytes), size));
}

std::string ObjectPath(const Libsystemd& lib, const std::string& unit) {
  char* path = nullptr;
  std::string encoded;
  if (lib.sd_bus_path_encode(kUnitsPath, unit.c_str(), &path) >= 0) {
    encoded = path;
  }
  free(path);
  return encoded;
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
  state.sub = read(kUnitInterface, "SubState");
  state.cgroup = read(interface, "ControlGroup");
  if (interface == InterfaceOf(".service")) {
    state.restart = read(interface, "Restart");
  }
  if (!status.ok()) return status;
  state.invocation = ReadInvocation(lib, bus, ObjectPath(lib, unit));
  if (state.cgroup.empty()) return state;
  absl::StatusOr<std::vector<pid_t>> processes = ReadProcesses(lib, bus, unit);
  if (!processes.ok()) return processes.status();
  state.processes = *std::move(processes);
  return state;
}

absl::Status Kill(const Libsystemd& lib, const BusHandle& bus,
                  const std::string& unit, int signal) {
  UnitCall call(lib, bus, "KillUnit", unit);
  call.Append("all", signal);
  call.Call();
  if (call.error().Is("org.freedesktop.systemd1.NoSuchProcess")) {
    return absl::OkStatus();
  }
  return call.ToStatus(absl::StrCat("systemd does not signal ", unit));
}

}  // namespace

absl::StatusOr<std::string> ReadUnitProperty(const Libsystemd& lib,
                                             const BusHandle& bus,
                                             const std::string& unit,
                                             const std::string& interface,
                                             const char* name) {
  char* text = nullptr;
  BusError error(lib);
  int result = lib.sd_bus_get_property_string(
      bus.get(), kService, ObjectPath(lib, unit).c_str(), interface.c_str(),
      name, error.get(), &text);
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
  if (absl::IsNotFound(asked)) {
    return absl::NotFoundError(
        absl::StrCat(asked.message(), IsSystems(manager)
                                          ? " of the system's; a user's own is "
                                            "asked for with --user"
                                          : " of this user's; the system's is "
                                            "asked for with --system"));
  }
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
