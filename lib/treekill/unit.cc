#include "treekill/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "treekill/containment/placement.h"
#include "treekill/guardian/finish.h"
#include "treekill/json.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/cgroup_events.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/snapshot.h"
#include "treekill/systemd/client.h"
#include "treekill/systemd/unit_name.h"

namespace treekill {
namespace {

// systemd learns of an end after us.
constexpr absl::Duration kLate = absl::Seconds(1);
// And starts a service again after RestartSec=, 100 ms by default; newer ones
// call it inactive meanwhile.
constexpr absl::Duration kRestart = absl::Milliseconds(300);
constexpr absl::Duration kAskAgain = absl::Milliseconds(20);

// How often processes may be new, or in another cgroup, before we give up.
constexpr int kRounds = 16;

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
    return BusyUnlessEmpty("rmdir", cgroup_.path());
  }

 private:
  systemd::Client* const client_;
  const SystemdManager manager_;
  const std::string unit_;
  const kernel::Cgroup& cgroup_;
  const kernel::UniqueFd events_;
};

bool HoldsUs(const std::vector<pid_t>& members) {
  return std::find(members.begin(), members.end(), getpid()) != members.end();
}

// Why the unit is not to be ended; OK when it may be. `members` are its
// processes.
absl::Status MayEnd(const systemd::UnitState& unit,
                    const std::vector<pid_t>& members) {
  if (unit.name == "init.scope" || unit.name == "-.slice") {
    return absl::FailedPreconditionError(
        absl::StrCat(unit.name,
                     " holds the service manager itself; to end everything, "
                     "shut the machine down"));
  }
  if (!HoldsUs(members)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(unit.name,
                   " holds treekill itself; to end it from within: "
                   "systemctl stop ",
                   unit.name));
}

bool Intersect(const std::vector<pid_t>& one, const std::vector<pid_t>& other) {
  return std::any_of(one.begin(), one.end(), [&](pid_t pid) {
    return std::find(other.begin(), other.end(), pid) != other.end();
  });
}

bool RestartsItself(const systemd::UnitState& unit) {
  return unit.active == "activating" && unit.sub == "auto-restart";
}

// Is systemd at work on it, so that there may be more processes?
bool IsUnfinished(const systemd::UnitState& unit) {
  return unit.active == "deactivating" || unit.active == "reloading" ||
         (unit.active == "activating" && !RestartsItself(unit));
}

bool IsNotOurs(const absl::Status& status) {
  int error = kernel::StatusErrno(status);
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
  Impl(systemd::Client client, SystemdManager manager, systemd::UnitState found)
      : client_(std::move(client)),
        manager_(manager),
        found_(std::move(found)) {
    now_ = found_;
  }

  // As it was found.
  const systemd::UnitState& found() const { return found_; }
  const std::string& name() const { return found_.name; }
  // Holds processes of it; nullopt when there are none.
  const std::optional<kernel::Cgroup>& cgroup() const { return cgroup_; }

  // Pins the cgroup that its processes are in, by what systemd says now. Its
  // path alone is not believed: that of another cgroup or PID namespace may be
  // something else here.
  absl::Status Locate() {
    for (int i = 0; i < kRounds; ++i) {
      cgroup_.reset();
      if (now_.cgroup.empty() || now_.processes.empty()) {
        return absl::OkStatus();
      }
      absl::StatusOr<kernel::Cgroup> cgroup =
          containment::OpenCgroup(now_.cgroup);
      if (cgroup.ok()) {
        absl::StatusOr<kernel::CgroupMembers> members =
            cgroup->Members(kernel::Cgroup::Modes::kLeave);
        if (!members.ok()) return members.status();
        if (Intersect(now_.processes, members->pids)) {
          cgroup_ = *std::move(cgroup);
          return absl::OkStatus();
        }
      } else if (!absl::IsNotFound(cgroup.status())) {
        return cgroup.status();
      }
      absl::Status asked = AskAgain();
      if (!asked.ok()) return asked;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "the processes of ", name(), " are not to be seen in ", now_.cgroup,
        ", where systemd has them: this is another cgroup or PID namespace "
        "than systemd's"));
  }

  // What systemd says now: now(). A unit that it has forgotten is inactive.
  absl::Status AskAgain() {
    absl::StatusOr<systemd::Client*> client = Client();
    if (!client.ok()) return client.status();
    absl::StatusOr<systemd::UnitState> state =
        (*client)->QueryUnit(manager_, name());
    if (absl::IsNotFound(state.status())) {
      now_ = {};
      now_.active = "inactive";
      return absl::OkStatus();
    }
    if (!state.ok()) return state.status();
    now_ = *std::move(state);
    return absl::OkStatus();
  }
  const systemd::UnitState& now() const { return now_; }

  // Has it not been started again since it was found?
  bool IsSameStart() const { return now_.invocation == found_.invocation; }

  // Processes may still come, or there are some. `since` is when the last was
  // seen to be gone, of which systemd learns later.
  bool GoesOn(absl::Duration since) const {
    bool is_late = now_.active == "active" && now_.sub == "running" &&
                   kernel::MonotonicNow() - since < kLate;
    return IsSameStart() &&
           (is_late || IsUnfinished(now_) || !now_.processes.empty());
  }

  // There is nothing to say to systemd for a while.
  void DropClient() { client_.reset(); }

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
    absl::StatusOr<kernel::UniqueFd> events =
        cgroup_->OpenControl("cgroup.events", O_RDONLY);
    if (!events.ok()) return events.status();
    absl::StatusOr<systemd::Client*> client = Client();
    if (!client.ok()) return client.status();
    return std::make_unique<ManagerHold>(*client, manager_, name(), *cgroup_,
                                         *std::move(events));
  }

  // Of what is in the cgroup now. `signal` 0: none, but the grace.
  absl::Status EndOnce(const EndOptions& options, int signal, UnitEnd* end) {
    absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
        MakeHold(&end->by_manager);
    // It has just gone.
    if (absl::IsNotFound(hold.status())) return absl::OkStatus();
    if (!hold.ok()) return hold.status();
    guardian::RestOfTeardown rest;
    rest.drain_timeout = options.drain_timeout;
    containment::SignalRound round;
    if (signal == SIGKILL) {
      round.error = (*hold)->Kill();
    } else {
      if (signal != 0) round = (*hold)->Signal(signal, /*only_group=*/0);
      rest.grace_end = kernel::MonotonicNow() + options.grace;
    }
    if (end->by_manager && !round.error.ok()) return NotAllowed(round.error);
    std::vector<guardian::Finisher> finishers;
    finishers.emplace_back(*std::move(hold), rest);
    guardian::FinishAll(&finishers);
    end->killed = end->killed || finishers[0].killed();
    end->error = finishers[0].result();
    if (end->error.ok()) return absl::OkStatus();
    absl::StatusOr<std::vector<pid_t>> alive = finishers[0].hold().Members();
    if (alive.ok()) end->survivors = internal::DescribeMembers(*alive);
    return absl::OkStatus();
  }

  // After the end: will it be, or was it, started again?
  absl::Status SeeWhetherItStartsAgain(UnitEnd* end) {
    absl::Duration ended = kernel::MonotonicNow();
    while (true) {
      absl::Status asked = AskAgain();
      if (!asked.ok()) return asked;
      absl::Duration since = kernel::MonotonicNow() - ended;
      bool is_down = now_.active == "inactive" || now_.active == "failed";
      end->started_again = RestartsItself(now_) || (!is_down && !IsSameStart());
      bool may_start = !now_.restart.empty() && now_.restart != "no";
      if (end->started_again || !may_start ||
          since > (is_down ? kRestart : kLate)) {
        end->active_state = now_.active;
        return absl::OkStatus();
      }
      absl::SleepFor(kAskAgain);
    }
  }

 private:
  absl::StatusOr<systemd::Client*> Client() {
    if (!client_.has_value()) {
      absl::StatusOr<systemd::Client> client = systemd::Client::Start();
      if (!client.ok()) return client.status();
      client_ = *std::move(client);
    }
    return &*client_;
  }

  std::optional<systemd::Client> client_;
  const SystemdManager manager_;
  const systemd::UnitState found_;
  systemd::UnitState now_;
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
  absl::Status located = impl->Locate();
  if (!located.ok()) return located;
  return Unit(std::move(impl));
}

Unit::Unit(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Unit::Unit(Unit&&) noexcept = default;
Unit& Unit::operator=(Unit&&) noexcept = default;
Unit::~Unit() = default;

const std::string& Unit::name() const { return impl_->name(); }
const std::string& Unit::active_state() const { return impl_->found().active; }

std::string Unit::cgroup() const {
  return impl_->cgroup().has_value() ? impl_->cgroup()->path() : "";
}

absl::StatusOr<std::vector<UnitMember>> Unit::Members() const {
  std::vector<UnitMember> members;
  if (!impl_->cgroup().has_value()) return members;
  absl::StatusOr<kernel::CgroupMembers> alive =
      impl_->cgroup()->Members(kernel::Cgroup::Modes::kLeave);
  if (!alive.ok()) return alive.status();
  // The root's is "/".
  std::string own(absl::StripSuffix(impl_->now().cgroup, "/"));
  for (Member& process : internal::DescribeMembers(alive->pids)) {
    // It has gone away since.
    if (!absl::StartsWith(absl::StrCat(process.cgroup, "/"),
                          absl::StrCat(own, "/"))) {
      continue;
    }
    std::string below = process.cgroup.substr(own.size());
    members.push_back({std::move(process), std::move(below)});
  }
  return members;
}

absl::StatusOr<bool> Unit::Wait(absl::Duration timeout) {
  absl::Duration end = kernel::MonotonicNow() + timeout;
  absl::Duration since = kernel::MonotonicNow();
  while (true) {
    if (impl_->cgroup().has_value()) {
      absl::StatusOr<kernel::CgroupMembers> members =
          impl_->cgroup()->Members(kernel::Cgroup::Modes::kLeave);
      if (members.ok() && HoldsUs(members->pids)) {
        return absl::FailedPreconditionError(absl::StrCat(
            name(),
            " holds treekill itself, which would wait for its own end"));
      }
      impl_->DropClient();
      absl::StatusOr<bool> empty = kernel::AwaitEmpty(*impl_->cgroup(), end);
      if (!empty.ok() || !*empty) return empty;
      since = kernel::MonotonicNow();
    }
    absl::Status asked = impl_->AskAgain();
    if (!asked.ok()) return asked;
    if (!impl_->GoesOn(since)) return true;
    absl::Status located = impl_->Locate();
    if (!located.ok()) return located;
    if (impl_->cgroup().has_value()) continue;
    absl::Duration left = end - kernel::MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    absl::SleepFor(std::min(left, kAskAgain));
  }
}

absl::StatusOr<UnitEnd> Unit::End(const EndOptions& options) {
  std::vector<pid_t> members;
  if (impl_->cgroup().has_value()) {
    absl::StatusOr<kernel::CgroupMembers> alive = impl_->cgroup()->Members();
    if (!alive.ok()) return alive.status();
    members = std::move(alive->pids);
  }
  absl::Status may = MayEnd(impl_->found(), members);
  if (!may.ok()) return may;
  UnitEnd end;
  end.had_processes = impl_->cgroup().has_value();
  absl::Duration since = kernel::MonotonicNow();
  absl::Duration last = since + options.grace + options.drain_timeout;
  // What systemd starts to stop it (ExecStopPost=) is not told to end at once,
  // but has the same time.
  int signal = options.signal;
  int rounds = 0;
  do {
    if (impl_->cgroup().has_value()) {
      absl::Status ended =
          impl_->EndOnce(options, std::exchange(signal, 0), &end);
      if (!ended.ok()) return ended;
      if (!end.error.ok() || ++rounds > kRounds) return end;
      since = kernel::MonotonicNow();
    } else if (kernel::MonotonicNow() > last) {
      break;
    } else {
      absl::SleepFor(kAskAgain);
    }
    absl::Status asked = impl_->AskAgain();
    if (asked.ok()) asked = impl_->Locate();
    if (!asked.ok()) return asked;
  } while (impl_->GoesOn(since));
  end.drained = !impl_->IsSameStart() || !impl_->cgroup().has_value();
  absl::Status seen = impl_->SeeWhetherItStartsAgain(&end);
  if (!seen.ok()) return seen;
  return end;
}

std::string UnitToJson(const Unit& unit,
                       const std::vector<UnitMember>& members) {
  internal::Json list = internal::Json::array();
  for (const UnitMember& member : members) {
    Member process = member.process;
    process.cgroup = member.cgroup;
    list.push_back(internal::MemberToJson(process));
  }
  return internal::Dump({{"schema_version", internal::kSchemaVersion},
                         {"unit", unit.name()},
                         {"active_state", unit.active_state()},
                         {"cgroup", unit.cgroup()},
                         {"members", list}});
}

}  // namespace treekill
