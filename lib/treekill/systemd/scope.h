// A transient scope: systemd.scope(5), and StartTransientUnit() of
// org.freedesktop.systemd1(5).
#ifndef TREEKILL_SYSTEMD_SCOPE_H_
#define TREEKILL_SYSTEMD_SCOPE_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/systemd/bus.h"
#include "treekill/systemd/libsystemd.h"
#include "treekill/systemd/manager.h"
#include "treekill/systemd/property.h"

namespace treekill::systemd {

struct ScopeRequest {
  SystemdManager manager = SystemdManager::kAuto;
  // With its suffix.
  std::string unit;
  // Whom it is made of: a scope cannot be empty.
  pid_t pid = 0;
  // How long systemd waits for us when the scope is stopped.
  absl::Duration stop_timeout;
  // In place of ours, if they say the same.
  std::vector<Property> properties;
};

struct Scope {
  std::string unit;
  // As on the "0::" line of /proc/PID/cgroup.
  std::string cgroup;
};

// Keeps one connection for as long as it lives, and on it the scopes that it
// has started: while that is a bus, systemd asks us to end a scope that is
// being stopped instead of sending signals of its own (its Controller=).
class ScopeKeeper final {
 public:
  explicit ScopeKeeper(const Libsystemd& lib) : lib_(lib) {}

  // Starts a delegated scope, waits for its job, and makes sure that it is
  // alive with the process in it: systemd 252 to 254 can take one for dead as
  // soon as it is born. Blocks, for at most kPatience. kUnavailable: there is
  // no manager to be reached.
  absl::StatusOr<Scope> Start(const ScopeRequest& request);

  // Stops it if that is the scope which was started last. One of that name that
  // was there before is not touched.
  void GiveUp(const std::string& unit) const;

  // Stops a scope that has turned out to be of no use.
  void Stop(const std::string& unit) const;

  // Readable when Dispatch() has something to do; -1 without a connection.
  int fd() const;
  // Calls `stopped` for each scope that is to be stopped. False when the
  // connection is lost.
  bool Dispatch(const std::function<void(const std::string& unit)>& stopped);

 private:
  // What not every version of systemd, and no private socket, takes. A pid will
  // do: it is that of a child which nobody has waited for.
  struct Offers {
    bool pidfd = false;
    bool controller = true;
  };

  absl::Status ConnectTo(const BusAddress& address);
  absl::StatusOr<Scope> StartHere(const ScopeRequest& request);
  absl::StatusOr<Scope> StartOnce(const ScopeRequest& request);
  absl::Status CallStart(const ScopeRequest& request);
  int AppendStart(sd_bus_message* message, const ScopeRequest& request) const;
  int AppendProcess(sd_bus_message* message, pid_t pid) const;
  absl::Status AwaitJob(const std::string& unit);
  absl::StatusOr<Scope> Verify(const ScopeRequest& request);
  void Tell(const char* method, const std::string& unit,
            const char* mode) const;

  static int OnJobRemoved(sd_bus_message* message, void* keeper,
                          sd_bus_error* error);
  static int OnRequestStop(sd_bus_message* message, void* keeper,
                           sd_bus_error* error);

  const Libsystemd& lib_;
  BusHandle bus_{nullptr, BusClose{nullptr}};
  Offers offers_;
  // Its name on the bus when it last answered.
  std::string manager_;
  // The scope that was started last.
  std::string started_;
  // The job that is waited for, and how it ended.
  std::string job_;
  std::string job_result_;
  std::vector<std::string> stopped_;
};

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_SCOPE_H_
