#include "treekill/unit.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "treekill/containment/placement.h"
#include "treekill/guardian/finish.h"
#include "treekill/json.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/supervisor_impl.h"
#include "treekill/systemd/client.h"
#include "treekill/systemd/unit_name.h"

namespace treekill {
namespace {

// systemd learns of an end after us, and restarts after RestartSec=, 100 ms by
// default.
constexpr absl::Duration kRestart = absl::Seconds(1);
constexpr absl::Duration kAskAgain = absl::Milliseconds(20);

// Holds a unit whose cgroup is not ours to write to.
class ManagerHold final : public containment::Hold {
 public:
  ManagerHold(systemd::Client* client, SystemdManager manager, std::string unit,
              const kernel::Cgroup& cgroup, kernel::UniqueFd events)
      : client_(client),
        manager_(manager),
        unit_(std::move(unit)),
        cgroup_(cgroup),
        events_(std::move(events)) {}

  Containment kind() const override { return Containment::kScope; }
  std::string path() const override { return cgroup_.path(); }
  void SetLeader(pid_t, int) override {}
  int events_fd() const override { return events_.get(); }

  absl::StatusOr<bool> IsEmpty() override {
    absl::StatusOr<bool> populated =
        kernel::ReadPopulated(events_.get(), cgroup_.path() + "/cgroup.events");
    if (!populated.ok()) return populated.status();
    return !*populated;
  }

  absl::StatusOr<std::vector<pid_t>> Members() override {
    absl::StatusOr<kernel::CgroupMembers> members = cgroup_.Members();
    if (!members.ok()) return members.status();
    return std::move(members->pids);
  }

  bool Contains(pid_t) const override { return false; }

  containment::SignalRound Signal(int signal, pid_t) override {
    containment::SignalRound round;
    round.error = client_->SignalUnit(manager_, unit_, signal);
    if (round.error.ok()) {
      round.signalled = 1;
      (void)client_->SignalUnit(manager_, unit_, SIGCONT);
    }
    return round;
  }

  absl::Status Kill() override {
    return client_->SignalUnit(manager_, unit_, SIGKILL);
  }

  absl::Status Remove() override {
    absl::StatusOr<bool> empty = IsEmpty();
    if (!empty.ok() || *empty) return empty.status();
    return kernel::ErrnoStatus(EBUSY, "rmdir", cgroup_.path());
  }

 private:
  systemd::Client* const client_;
  const SystemdManager manager_;
  const std::string unit_;
  const kernel::Cgroup& cgroup_;
  const kernel::UniqueFd events_;
};

// Why the unit is not to be ended; OK when it may be.
absl::Status MayEnd(const systemd::UnitState& unit) {
  if (unit.name == "init.scope" || unit.name == "-.slice") {
    return absl::FailedPreconditionError(absl::StrCat(
        unit.name,
        " holds the service manager itself; to end everything, shut "
        "the machine down"));
  }
  if (unit.cgroup.empty()) return absl::OkStatus();
  absl::StatusOr<std::string> own = kernel::ReadCgroupOfProcess(0);
  if (!own.ok()) return own.status();
  if (absl::StartsWith(absl::StrCat(*own, "/"),
                       absl::StrCat(unit.cgroup, "/"))) {
    return absl::FailedPreconditionError(
        absl::StrCat(unit.name, " holds treekill itself, which is in ", *own,
                     "; to end it from within: systemctl stop ", unit.name));
  }
  return absl::OkStatus();
}

bool IsNotOurs(const absl::Status& status) {
  int error = kernel::StatusErrno(status);
  // Before Linux 5.14 there is no cgroup.kill.
  return error == EACCES || error == EPERM || error == EROFS || error == ENOENT;
}

absl::Status NotAllowed(const absl::Status& status) {
  if (!absl::IsPermissionDenied(status)) return status;
  return kernel::WithHint(status,
                          "it is not this user's; run as root, or with --user "
                          "for a unit of one's own");
}

}  // namespace

class Unit::Impl final {
 public:
  Impl(systemd::Client client, SystemdManager manager, systemd::UnitState state)
      : client_(std::move(client)),
        manager_(manager),
        state_(std::move(state)) {}

  // Pins the cgroup, if there is one.
  absl::Status Open() {
    if (state_.cgroup.empty()) return absl::OkStatus();
    absl::StatusOr<kernel::Cgroup> cgroup =
        containment::OpenCgroup(state_.cgroup);
    // It may have ended meanwhile.
    if (absl::IsNotFound(cgroup.status())) return absl::OkStatus();
    if (!cgroup.ok()) return cgroup.status();
    cgroup_ = *std::move(cgroup);
    return absl::OkStatus();
  }

  const systemd::UnitState& state() const { return state_; }
  const std::optional<kernel::Cgroup>& cgroup() const { return cgroup_; }

  absl::StatusOr<kernel::UniqueFd> OpenEvents() const {
    return cgroup_->OpenControl("cgroup.events", O_RDONLY);
  }

  absl::StatusOr<std::unique_ptr<containment::Hold>> MakeHold(
      bool* by_manager) {
    absl::StatusOr<kernel::UniqueFd> copy =
        cgroup_->OpenControl(".", O_PATH | O_DIRECTORY);
    if (!copy.ok()) return copy.status();
    absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
        containment::HoldForeign(
            kernel::Cgroup::Adopt(*std::move(copy), cgroup_->path()));
    *by_manager = IsNotOurs(hold.status());
    if (!*by_manager) return hold;
    absl::StatusOr<kernel::UniqueFd> events = OpenEvents();
    if (!events.ok()) return events.status();
    return std::make_unique<ManagerHold>(&client_, manager_, state_.name,
                                         *cgroup_, *std::move(events));
  }

  // After the end: what systemd makes of it.
  std::string ActiveState() {
    absl::Duration end = kernel::MonotonicNow() + kRestart;
    while (true) {
      absl::StatusOr<systemd::UnitState> now =
          client_.QueryUnit(manager_, state_.name);
      if (!now.ok()) return "";
      bool restarts = !now->restart.empty() && now->restart != "no";
      if (!restarts || now->active == "activating" ||
          kernel::MonotonicNow() > end) {
        return now->active;
      }
      absl::SleepFor(kAskAgain);
    }
  }

 private:
  systemd::Client client_;
  const SystemdManager manager_;
  const systemd::UnitState state_;
  std::optional<kernel::Cgroup> cgroup_;
};

absl::StatusOr<Unit> Unit::Find(const std::string& name,
                                SystemdManager manager) {
  absl::StatusOr<std::string> whole =
      systemd::UnitNameFromUser(name, ".service");
  if (!whole.ok()) return whole.status();
  absl::StatusOr<systemd::Client> client = systemd::Client::Start();
  if (!client.ok()) return client.status();
  absl::StatusOr<systemd::UnitState> state = client->QueryUnit(manager, *whole);
  if (!state.ok()) return state.status();
  auto impl =
      std::make_unique<Impl>(*std::move(client), manager, *std::move(state));
  absl::Status opened = impl->Open();
  if (!opened.ok()) return opened;
  return Unit(std::move(impl));
}

Unit::Unit(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Unit::Unit(Unit&&) noexcept = default;
Unit& Unit::operator=(Unit&&) noexcept = default;
Unit::~Unit() = default;

const std::string& Unit::name() const { return impl_->state().name; }
const std::string& Unit::active_state() const { return impl_->state().active; }

std::string Unit::cgroup() const {
  return impl_->cgroup().has_value() ? impl_->cgroup()->path() : "";
}

absl::StatusOr<std::vector<UnitMember>> Unit::Members() const {
  std::vector<UnitMember> members;
  if (!impl_->cgroup().has_value()) return members;
  absl::StatusOr<kernel::CgroupMembers> alive = impl_->cgroup()->Members();
  if (!alive.ok()) return alive.status();
  std::sort(alive->pids.begin(), alive->pids.end());
  for (Member& process : internal::DescribeMembers(alive->pids)) {
    UnitMember member;
    absl::StatusOr<std::string> cgroup =
        kernel::ReadCgroupOfProcess(process.pid);
    // It has gone, or away, since.
    if (!cgroup.ok() || !absl::StartsWith(*cgroup, impl_->state().cgroup)) {
      continue;
    }
    member.cgroup = cgroup->substr(impl_->state().cgroup.size());
    member.argv = kernel::ReadCommandLine(process.pid);
    member.process = std::move(process);
    members.push_back(std::move(member));
  }
  return members;
}

absl::StatusOr<bool> Unit::Wait(absl::Duration timeout) const {
  if (!impl_->cgroup().has_value()) return true;
  absl::StatusOr<kernel::UniqueFd> events = impl_->OpenEvents();
  if (absl::IsNotFound(events.status())) return true;
  if (!events.ok()) return events.status();
  absl::Duration end = kernel::MonotonicNow() + timeout;
  while (true) {
    absl::StatusOr<bool> populated =
        kernel::ReadPopulated(events->get(), cgroup() + "/cgroup.events");
    if (!populated.ok()) return populated.status();
    if (!*populated) return true;
    absl::Duration left = end - kernel::MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    pollfd change{events->get(), POLLPRI, 0};
    int64_t most = 3600 * 1000;
    int64_t milliseconds =
        absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
    kernel::Poll(&change, 1, static_cast<int>(std::min(milliseconds, most)));
  }
}

absl::StatusOr<UnitEnd> Unit::End(const UnitEndOptions& options) {
  absl::Status may = MayEnd(impl_->state());
  if (!may.ok()) return may;
  UnitEnd end;
  end.active_state = active_state();
  end.drained = !impl_->cgroup().has_value();
  if (end.drained) return end;
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
      impl_->MakeHold(&end.by_manager);
  if (absl::IsNotFound(hold.status())) {
    end.drained = true;
    return end;
  }
  if (!hold.ok()) return hold.status();
  guardian::RestOfTeardown rest;
  rest.drain_timeout = options.drain_timeout;
  if (options.signal != SIGKILL) {
    containment::SignalRound round = (*hold)->Signal(options.signal, 0);
    if (!round.error.ok() && end.by_manager) return NotAllowed(round.error);
    rest.grace_end = kernel::MonotonicNow() + options.grace;
  } else if (end.by_manager) {
    absl::Status killed = (*hold)->Kill();
    if (!killed.ok()) return NotAllowed(killed);
  }
  std::vector<guardian::Finisher> finishers;
  finishers.emplace_back(*std::move(hold), rest);
  guardian::FinishAll(&finishers);
  end.error = finishers[0].result();
  end.drained = end.error.ok();
  end.killed = finishers[0].killed();
  if (!end.drained) {
    absl::StatusOr<std::vector<pid_t>> alive = finishers[0].hold().Members();
    if (alive.ok()) end.survivors = internal::DescribeMembers(*alive);
  }
  end.active_state = impl_->ActiveState();
  return end;
}

std::string UnitToJson(const Unit& unit,
                       const std::vector<UnitMember>& members) {
  internal::Json list = internal::Json::array();
  for (const UnitMember& member : members) {
    internal::Json json = internal::MemberToJson(member.process);
    json["cgroup"] = member.cgroup;
    json["command"] = member.argv;
    list.push_back(std::move(json));
  }
  return internal::Dump({{"schema_version", internal::kSchemaVersion},
                         {"unit", unit.name()},
                         {"active_state", unit.active_state()},
                         {"cgroup", unit.cgroup()},
                         {"members", list}});
}

}  // namespace treekill
