// The processes of a unit that systemd runs, whoever has made it: a service, a
// scope such as systemd-run's, or a slice with all that is below.
#ifndef TREEKILL_UNIT_H_
#define TREEKILL_UNIT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/end_options.h"
#include "treekill/report.h"
#include "treekill/systemd/manager.h"

namespace treekill {

struct UnitMember {
  Member process;
  // Below the unit's own cgroup: "" there, else such as "/payload".
  std::string cgroup;
};

struct UnitEnd {
  // There was somebody to end.
  bool had_processes = false;
  // Nobody of the unit is alive, but for who was started again. Else:
  bool drained = false;
  std::vector<Member> survivors;
  absl::Status error;
  // SIGKILL was sent.
  bool killed = false;
  // systemd was asked to send the signals (KillUnit()), because the cgroup is
  // not ours to write to.
  bool by_manager = false;
  // What systemd says of the unit then: "inactive" or "failed" as a rule. And
  // whether it has started it again, or will (Restart=).
  std::string active_state;
  bool started_again = false;
};

// A unit as it was when it was looked for. What is started later, as by
// Restart=, is not of it.
//
// Threads: one at a time.
class Unit final {
 public:
  // `name` is as for systemctl(1): without a suffix it is a service's. Asks the
  // manager, through treekill-systemd (scope.h): blocks until that answers.
  // kInvalidArgument: no name of a unit, or of one without processes;
  // kNotFound: there is no such unit; kUnavailable: there is no manager to be
  // asked; kFailedPrecondition: its processes cannot be seen from here.
  static absl::StatusOr<Unit> Find(
      const std::string& name, SystemdManager manager = SystemdManager::kAuto);

  Unit(Unit&&) noexcept;
  Unit& operator=(Unit&&) noexcept;
  ~Unit();

  // With its suffix, and not by an alias.
  const std::string& name() const;
  // "active", "inactive", "failed", ...: when it was looked for.
  const std::string& active_state() const;
  // The directory of its cgroup; "" when it has no processes.
  std::string cgroup() const;

  // Who is alive, nested cgroups included. A moment's picture.
  absl::StatusOr<std::vector<UnitMember>> Members() const;

  // Blocks until nobody of it is alive and systemd has done with it (it may run
  // ExecStopPost=, or the next of several ExecStart=), or `timeout` is over:
  // then false. kFailedPrecondition: the caller is in it.
  absl::StatusOr<bool> Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Ends all processes of the unit: a signal, a grace period, then cgroup.kill
  // until nobody is alive. What systemd runs to stop it (ExecStopPost=) has the
  // grace period to end by itself, and is killed then; the first signal is sent
  // to it only if it starts while that is being sent to the others. Blocks for
  // as long as all that takes. Leaves the unit to systemd. kFailedPrecondition:
  // that would end the caller, or all of the machine; kPermissionDenied: it is
  // another's.
  //
  // Where the cgroup is not ours to write to systemd is asked to send the
  // signals (KillUnit()), which knows the unit by its name: one that is started
  // again in that moment may be hit.
  absl::StatusOr<UnitEnd> End(const EndOptions& options = EndOptions());

 private:
  class Impl;
  explicit Unit(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One JSON object in one line, without a newline; its fields are a contract,
// version `schema_version` 1, and written down in README.md.
std::string UnitToJson(const Unit& unit,
                       const std::vector<UnitMember>& members);

}  // namespace treekill

#endif  // TREEKILL_UNIT_H_
