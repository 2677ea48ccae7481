#include "treekill/systemd/scope.h"

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/systemd/append.h"
#include "treekill/systemd/unit.h"

namespace treekill::systemd {
namespace {

// A manager that is busy booting takes its time.
constexpr absl::Duration kPatience = absl::Seconds(15);

// A scope that has ended is forgotten within some milliseconds.
constexpr absl::Duration kForgotten = absl::Milliseconds(500);
constexpr absl::Duration kAskAgain = absl::Milliseconds(10);

// For one that is taken for dead as soon as it is born.
constexpr int kBirths = 4;

constexpr char kScopeInterface[] = "org.freedesktop.systemd1.Scope";
constexpr char kUnitExists[] = "org.freedesktop.systemd1.UnitExists";

uint64_t Microseconds(absl::Duration duration) {
  return duration == absl::InfiniteDuration()
             ? UINT64_MAX
             : static_cast<uint64_t>(absl::ToInt64Microseconds(duration));
}

// Born, and taken for dead.
bool IsStillborn(const absl::Status& status) { return absl::IsAborted(status); }

}  // namespace

absl::Status ScopeKeeper::ConnectTo(const BusAddress& address) {
  absl::StatusOr<BusHandle> bus = OpenBus(lib_, address);
  if (!bus.ok()) return bus.status();
  // From a private socket everything comes without a sender.
  const char* sender = address.is_bus ? kService : nullptr;
  int result = lib_.sd_bus_match_signal_async(
      bus->get(), nullptr, sender, kManagerPath, kManagerInterface,
      "JobRemoved", OnJobRemoved, nullptr, this);
  if (result >= 0) {
    result = lib_.sd_bus_match_signal_async(
        bus->get(), nullptr, sender, nullptr, kScopeInterface, "RequestStop",
        OnRequestStop, nullptr, this);
  }
  if (result < 0) {
    return kernel::ErrnoStatus(-result, "sd_bus_match_signal_async",
                               absl::StrCat("cannot use ", address.address));
  }
  bus_ = *std::move(bus);
  offers_ = Offers{.pidfd = lib_.is_255, .controller = address.is_bus};
  return absl::OkStatus();
}

absl::StatusOr<Scope> ScopeKeeper::Start(const ScopeRequest& request) {
  if (bus_ != nullptr) return StartHere(request);
  absl::StatusOr<Scope> scope;
  absl::Status asked =
      TryAddresses(request.manager, "there is no systemd to ask for a scope",
                   [&](const BusAddress& address) {
                     absl::Status connected = ConnectTo(address);
                     if (!connected.ok()) return connected;
                     scope = StartHere(request);
                     if (absl::IsUnavailable(scope.status())) bus_.reset();
                     return scope.status();
                   });
  if (!asked.ok()) return asked;
  return scope;
}

absl::StatusOr<Scope> ScopeKeeper::StartHere(const ScopeRequest& request) {
  absl::StatusOr<Scope> scope = StartOnce(request);
  for (int births = 1; births < kBirths && IsStillborn(scope.status());
       ++births) {
    scope = StartOnce(request);
  }
  return scope;
}

absl::StatusOr<Scope> ScopeKeeper::StartOnce(const ScopeRequest& request) {
  absl::Status started = CallStart(request);
  if (!started.ok()) return started;
  absl::Status done = AwaitJob(request.unit);
  absl::StatusOr<Scope> scope = done.ok() ? Verify(request) : done;
  // One whose process has died meanwhile is empty, and would stay so for ever.
  if (!scope.ok() && bus_ != nullptr) Stop(request.unit);
  return scope;
}

void ScopeKeeper::GiveUp(const std::string& unit) const {
  if (bus_ != nullptr && unit == started_) Stop(unit);
}

void ScopeKeeper::Stop(const std::string& unit) const {
  // With a controller, systemd would wait for the scope to become empty, which
  // it is.
  Tell("AbandonScope", unit, nullptr);
  Tell("StopUnit", unit, "replace");
}

absl::Status ScopeKeeper::CallStart(const ScopeRequest& request) {
  const absl::Duration leave = kernel::MonotonicNow() + kForgotten;
  while (true) {
    sd_bus_message* made = nullptr;
    int result = lib_.sd_bus_message_new_method_call(
        bus_.get(), &made, kService, kManagerPath, kManagerInterface,
        "StartTransientUnit");
    Message message(made, {&lib_});
    if (result >= 0) result = AppendStart(made, request);
    BusError error(lib_);
    sd_bus_message* answered = nullptr;
    if (result >= 0) {
      result = lib_.sd_bus_call(bus_.get(), made, Microseconds(kPatience),
                                error.get(), &answered);
    }
    Message answer(answered, {&lib_});
    const char* job = nullptr;
    if (result >= 0) {
      result = lib_.sd_bus_message_read(answered, "o", &job);
    }
    if (result >= 0) {
      const char* sender = lib_.sd_bus_message_get_sender(answered);
      manager_ = sender == nullptr ? "" : sender;
      job_ = job;
      job_result_.clear();
      started_ = request.unit;
      return absl::OkStatus();
    }
    if (offers_.pidfd && absl::StrContains(error.message(), "PIDFDs")) {
      offers_.pidfd = false;
    } else if (offers_.controller &&
               absl::StrContains(error.message(), "Controller")) {
      offers_.controller = false;
    } else if (error.Is(kUnitExists) && kernel::MonotonicNow() < leave) {
      // A failed one stays; one that has just ended is forgotten soon.
      Tell("ResetFailedUnit", request.unit, nullptr);
      absl::SleepFor(kAskAgain);
    } else {
      absl::Status failed = error.ToStatus(
          absl::StrCat("systemd does not start ", request.unit), result);
      if (absl::IsPermissionDenied(failed)) {
        return kernel::WithHint(
            failed,
            "the system's manager serves root, and whom polkit lets; a "
            "user's own is asked with --user");
      }
      if (!error.Is(kUnitExists)) return failed;
      return kernel::WithHint(
          failed, "choose another name, or stop that one: systemctl stop");
    }
  }
}

int ScopeKeeper::AppendStart(sd_bus_message* message,
                             const ScopeRequest& request) const {
  const auto append = lib_.sd_bus_message_append;
  int result = append(message, "ss", request.unit.c_str(), "fail");
  if (result < 0) return result;
  result = lib_.sd_bus_message_open_container(message, 'a', "(sv)");
  if (result < 0) return result;
  result = append(message, "(sv)(sv)(sv)", "Delegate", "b", 1, "CollectMode",
                  "s", "inactive-or-failed", "TimeoutStopUSec", "t",
                  Microseconds(request.stop_timeout));
  if (result < 0) return result;
  for (const Property& property : request.properties) {
    result = AppendProperty(lib_, message, property);
    if (result < 0) return result;
  }
  const char* name = nullptr;
  if (offers_.controller &&
      lib_.sd_bus_get_unique_name(bus_.get(), &name) >= 0) {
    result = append(message, "(sv)", "Controller", "s", name);
    if (result < 0) return result;
  }
  result = AppendProcess(message, request.pid);
  if (result < 0) return result;
  result = lib_.sd_bus_message_close_container(message);
  if (result < 0) return result;
  return append(message, "a(sa(sv))", 0);
}

int ScopeKeeper::AppendProcess(sd_bus_message* message, pid_t pid) const {
  if (offers_.pidfd) {
    absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(pid);
    // The message takes a copy.
    if (pidfd.ok()) {
      return lib_.sd_bus_message_append(message, "(sv)", "PIDFDs", "ah", 1,
                                        pidfd->get());
    }
  }
  return lib_.sd_bus_message_append(message, "(sv)", "PIDs", "au", 1,
                                    static_cast<uint32_t>(pid));
}

int ScopeKeeper::OnJobRemoved(sd_bus_message* message, void* keeper,
                              sd_bus_error*) {
  auto* self = static_cast<ScopeKeeper*>(keeper);
  // Anybody on the bus may send us one.
  const char* sender = self->lib_.sd_bus_message_get_sender(message);
  if (sender != nullptr && self->manager_ != sender) return 0;
  uint32_t id = 0;
  const char* job = nullptr;
  const char* unit = nullptr;
  const char* result = nullptr;
  if (self->lib_.sd_bus_message_read(message, "uoss", &id, &job, &unit,
                                     &result) >= 0 &&
      self->job_ == job) {
    self->job_result_ = result;
  }
  return 0;
}

absl::Status ScopeKeeper::AwaitJob(const std::string& unit) {
  absl::Duration end = kernel::MonotonicNow() + kPatience;
  while (job_result_.empty()) {
    int processed = lib_.sd_bus_process(bus_.get(), nullptr);
    if (processed < 0) {
      bus_.reset();
      return absl::UnavailableError(absl::StrCat(
          "the connection to systemd broke while it started ", unit));
    }
    if (processed > 0) continue;
    absl::Duration left = end - kernel::MonotonicNow();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("systemd has not started ", unit, " within ",
                       absl::FormatDuration(kPatience)));
    }
    lib_.sd_bus_wait(bus_.get(), Microseconds(left));
  }
  if (job_result_ == "done") return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("systemd's job to start ", unit, " ended as ", job_result_));
}

absl::StatusOr<Scope> ScopeKeeper::Verify(const ScopeRequest& request) {
  auto stillborn = [&](absl::string_view why) {
    return absl::AbortedError(absl::StrCat(request.unit, " ", why));
  };
  absl::StatusOr<std::string> state =
      ReadUnitProperty(lib_, bus_, request.unit, kUnitInterface, "ActiveState");
  if (!state.ok()) return state.status();
  if (*state != "active") {
    return stillborn(absl::StrCat("is ", *state, " as soon as started"));
  }
  absl::StatusOr<std::string> real = kernel::ReadCgroupOfProcess(request.pid);
  if (!real.ok()) return real.status();
  // A cgroup namespace shows a shorter path, or "/../".
  if (!absl::EndsWith(*real, absl::StrCat("/", request.unit))) {
    return stillborn(
        absl::StrCat("was started, but its process is in ", *real));
  }
  return Scope{request.unit, *real};
}

void ScopeKeeper::Tell(const char* method, const std::string& unit,
                       const char* mode) const {
  sd_bus_message* made = nullptr;
  int result = lib_.sd_bus_message_new_method_call(
      bus_.get(), &made, kService, kManagerPath, kManagerInterface, method);
  Message message(made, {&lib_});
  if (result >= 0) {
    result = lib_.sd_bus_message_append(made, "s", unit.c_str());
  }
  if (result >= 0 && mode != nullptr) {
    result = lib_.sd_bus_message_append(made, "s", mode);
  }
  // What it comes to, the next start shows.
  if (result >= 0) {
    (void)lib_.sd_bus_call(bus_.get(), made, Microseconds(kPatience), nullptr,
                           nullptr);
  }
}

int ScopeKeeper::OnRequestStop(sd_bus_message* message, void* keeper,
                               sd_bus_error*) {
  auto* self = static_cast<ScopeKeeper*>(keeper);
  const char* path = self->lib_.sd_bus_message_get_path(message);
  char* unit = nullptr;
  if (path != nullptr &&
      self->lib_.sd_bus_path_decode(path, kUnitsPath, &unit) > 0) {
    self->stopped_.push_back(unit);
  }
  free(unit);
  return 0;
}

int ScopeKeeper::fd() const {
  return bus_ == nullptr ? -1 : lib_.sd_bus_get_fd(bus_.get());
}

bool ScopeKeeper::Dispatch(
    const std::function<void(const std::string& unit)>& stopped) {
  if (bus_ == nullptr) return false;
  int processed = 0;
  do {
    processed = lib_.sd_bus_process(bus_.get(), nullptr);
  } while (processed > 0);
  for (const std::string& unit : std::exchange(stopped_, {})) {
    // Anybody on the bus may say so; and by its name the manager is not known,
    // as it has another after a daemon-reexec.
    absl::StatusOr<std::string> state =
        ReadUnitProperty(lib_, bus_, unit, kUnitInterface, "ActiveState");
    if (state.ok() && *state == "deactivating") stopped(unit);
  }
  if (processed < 0) bus_.reset();
  return processed >= 0;
}

}  // namespace treekill::systemd
