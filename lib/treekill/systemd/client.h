// The library's side of treekill-systemd.
#ifndef TREEKILL_SYSTEMD_CLIENT_H_
#define TREEKILL_SYSTEMD_CLIENT_H_

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/fd.h"
#include "treekill/systemd/manager.h"
#include "treekill/systemd/protocol.h"
#include "treekill/systemd/unit_state.h"

namespace treekill::systemd {

struct NewScope {
  SystemdManager manager = SystemdManager::kAuto;
  std::string unit;
  // A child that has not executed anything yet.
  pid_t pid = 0;
  absl::Duration stop_timeout;
  // NAME=VALUE.
  std::vector<std::string> properties;
  // -1: none.
  int cancel_fd = -1;
};

// A running helper. The destructor ends and reaps it; the scopes stay. After
// fork(2) the copy in the child does nothing.
class Client final {
 public:
  // Starts one: the program treekill-systemd, which TREEKILL_SYSTEMD in the
  // environment names, else where it is installed or was built. It has a
  // session of its own and /dev/null as its streams.
  static absl::StatusOr<Client> Start();
  Client(Client&&) noexcept = default;
  Client& operator=(Client&& other) noexcept;
  ~Client();

  // Starts a scope and waits until it is up: the path of its cgroup, as in
  // /proc/PID/cgroup. kUnavailable: nobody can be asked here; kCancelled:
  // `cancel_fd` was readable before there was an answer. Then, or when the
  // helper does not answer, it is of no more use.
  absl::StatusOr<std::string> StartScope(const NewScope& scope);

  // After kCancelled, and when the process is dead: has systemd stop the scope,
  // if it was started after all. Waits for a second at most.
  void GiveUp(SystemdManager manager, const std::string& unit);

  // kNotFound: there is no such unit.
  absl::StatusOr<UnitState> QueryUnit(SystemdManager manager,
                                      const std::string& unit);

  // Has systemd send `signal` to all processes of the unit.
  absl::Status SignalUnit(SystemdManager manager, const std::string& unit,
                          int signal);

  // The scope that is to be stopped, if there is one: systemd waits for its
  // end. An error: the helper is gone.
  absl::StatusOr<std::optional<std::string>> NextStopped();

  // Readable when NextStopped() has something to say.
  int fd() const { return channel_.get(); }
  pid_t pid() const { return process_.pid; }

 private:
  Client(std::string program, kernel::Child process, kernel::UniqueFd channel)
      : program_(std::move(program)),
        process_(std::move(process)),
        channel_(std::move(channel)) {}
  // Awaits the answer, which begins with `answer` and is of `size` words or
  // more.
  absl::StatusOr<Words> Ask(const Words& request, const char* answer,
                            size_t size, int cancel_fd = -1);
  void Dismiss();

  std::string program_;
  kernel::Child process_;
  kernel::UniqueFd channel_;
  // That came before the answer to a request.
  std::vector<std::string> stopped_;
  pid_t owner_ = getpid();
};

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_CLIENT_H_
