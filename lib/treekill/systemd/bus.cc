#include "treekill/systemd/bus.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"

namespace treekill::systemd {
namespace {

std::string Variable(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr ? "" : value;
}

std::string SocketAt(const std::string& path) {
  return absl::StrCat("unix:path=", path);
}

std::vector<BusAddress> SystemAddresses() {
  std::string named = Variable("DBUS_SYSTEM_BUS_ADDRESS");
  std::vector<BusAddress> addresses = {
      {named.empty() ? SocketAt("/run/dbus/system_bus_socket") : named}};
  if (geteuid() == 0) {
    addresses.push_back({SocketAt("/run/systemd/private"), false});
  }
  return addresses;
}

std::vector<BusAddress> UserAddresses() {
  std::vector<BusAddress> addresses;
  std::string named = Variable("DBUS_SESSION_BUS_ADDRESS");
  if (!named.empty()) addresses.push_back({named});
  std::string usual = absl::StrCat("/run/user/", geteuid());
  std::string given = Variable("XDG_RUNTIME_DIR");
  std::vector<std::string> directories = {usual};
  if (!given.empty() && given != usual) {
    directories.insert(directories.begin(), given);
  }
  for (const std::string& directory : directories) {
    std::string address = SocketAt(absl::StrCat(directory, "/bus"));
    if (address != named) addresses.push_back({address});
  }
  for (const std::string& directory : directories) {
    addresses.push_back(
        {SocketAt(absl::StrCat(directory, "/systemd/private")), false});
  }
  return addresses;
}

}  // namespace

bool BusError::MeansNobody() const {
  for (const char* nobody :
       {SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
        SD_BUS_ERROR_NO_SERVER, SD_BUS_ERROR_DISCONNECTED,
        "org.freedesktop.DBus.Error.Spawn.ChildExited",
        "org.freedesktop.DBus.Error.Spawn.ServiceNotFound"}) {
    if (Is(nobody)) return true;
  }
  return false;
}

absl::Status BusError::ToStatus(const std::string& what, int result) const {
  if (name().empty()) return kernel::ErrnoStatus(-result, "sd_bus_call", what);
  if (Is(SD_BUS_ERROR_TIMEOUT) || Is(SD_BUS_ERROR_NO_REPLY)) {
    return absl::FailedPreconditionError(
        absl::StrCat(what,
                     ": there is no answer; what it waits for, such as polkit, "
                     "is in: systemctl list-jobs"));
  }
  std::string text = absl::StrCat(what, ": ", message());
  // Not an answer of anybody's: the connection has failed.
  if (absl::StartsWith(name(), "System.Error.")) {
    return absl::UnavailableError(text);
  }
  if (MeansNobody()) return absl::UnavailableError(text);
  if (Is(SD_BUS_ERROR_ACCESS_DENIED) ||
      Is(SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED)) {
    return absl::PermissionDeniedError(text);
  }
  return absl::FailedPreconditionError(text);
}

bool IsSystems(SystemdManager manager) {
  return manager == SystemdManager::kSystem ||
         (manager == SystemdManager::kAuto && geteuid() == 0);
}

std::vector<BusAddress> AddressesOf(SystemdManager manager) {
  return IsSystems(manager) ? SystemAddresses() : UserAddresses();
}

absl::Status TryAddresses(
    SystemdManager manager, const std::string& nobody,
    const std::function<absl::Status(const BusAddress&)>& attempt) {
  std::string why = nobody;
  for (const BusAddress& address : AddressesOf(manager)) {
    absl::Status result = attempt(address);
    if (!absl::IsUnavailable(result)) return result;
    absl::StrAppend(&why, "; ", result.message());
  }
  return absl::UnavailableError(why);
}

absl::StatusOr<BusHandle> OpenBus(const Libsystemd& lib,
                                  const BusAddress& address) {
  sd_bus* made = nullptr;
  int result = lib.sd_bus_new(&made);
  BusHandle bus(made, {&lib});
  if (result >= 0) {
    result = lib.sd_bus_set_address(made, address.address.c_str());
  }
  if (result >= 0 && address.is_bus) {
    result = lib.sd_bus_set_bus_client(made, 1);
  }
  if (result >= 0) result = lib.sd_bus_start(made);
  if (result >= 0) return bus;
  absl::Status status =
      kernel::ErrnoStatus(-result, "sd_bus_start",
                          absl::StrCat("cannot connect to ", address.address));
  return absl::UnavailableError(status.message());
}

}  // namespace treekill::systemd
