// How a diagnosis is shown.
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/doctor.h"
#include "cli/output.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Entry(const std::string& name, const std::string& value) {
  return absl::StrFormat("%-12s %s\n", name, Printable(value));
}

std::string OwnCgroup(const HostInfo& host) {
  if (host.own_cgroup.empty()) return "is not to be seen";
  return absl::StrCat(host.own_cgroup, ", of uid ", host.own_cgroup_owner,
                      host.own_cgroup_writable && !host.mount_read_only
                          ? ", writable"
                          : ", not ours to write to");
}

std::string Mount(const HostInfo& host) {
  if (host.mount_point.empty()) return "is not mounted";
  return absl::StrCat(host.mount_point, " (", CgroupLayoutName(host.layout),
                      "), ", host.mount_options);
}

std::string Systemd(const HostInfo& host) {
  if (!host.systemd_running) return "does not run: no delegation is needed";
  return host.delegated ? "runs, and has delegated our cgroup"
                        : "runs, and has not delegated our cgroup";
}

std::string Keeper(const HostInfo& host) {
  if (host.keeper_error.ok()) return host.keeper;
  if (absl::IsNotFound(host.keeper_error)) return "none runs";
  return absl::StrCat("none: ", ReasonOf(host.keeper_error));
}

std::string YesOr(const absl::Status& status, const char* instead) {
  if (status.ok()) return "yes";
  if (absl::IsUnknown(status)) {
    return absl::StrCat("not known: ", ReasonOf(status));
  }
  return absl::StrCat("no, ", instead, ": ", ReasonOf(status));
}

Json OrNull(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json ErrorOrNull(const absl::Status& status) {
  return status.ok() ? Json(nullptr) : Json(ReasonOf(status));
}

}  // namespace

const Rung* Diagnosis::Best() const {
  for (const Rung& rung : rungs) {
    if (rung.status.ok()) return &rung;
  }
  return nullptr;
}

bool Diagnosis::IsHealthy() const {
  const Rung* best = Best();
  return best != nullptr &&
         !IsWeaker(*ParseContainment(best->name), Containment::kCgroup);
}

std::string DiagnosisToText(const Diagnosis& diagnosis) {
  const HostInfo& host = diagnosis.host;
  const Rung* best = diagnosis.Best();
  std::string text = "Nothing can hold here what a command starts";
  if (best != nullptr) {
    text = absl::StrCat("What a command starts is held here by: ", best->name,
                        diagnosis.IsHealthy() ? "" : ", less than a cgroup");
  }
  absl::StrAppend(&text, ".\n");
  absl::StrAppend(&text, "\n");
  for (const Rung& rung : diagnosis.rungs) {
    absl::StrAppend(
        &text,
        Entry(rung.name, rung.status.ok()
                             ? "works: a daemon was started and ended by it"
                             : absl::StrCat("no: ", ReasonOf(rung.status))));
    if (!rung.fix.empty()) {
      absl::StrAppend(&text, Entry("", absl::StrCat("to have it: ", rung.fix)));
    }
  }
  absl::StrAppend(
      &text, "\n", Entry("kernel", host.kernel),
      Entry("cgroup v2", Mount(host)), Entry("own cgroup", OwnCgroup(host)),
      Entry("systemd", Systemd(host)), Entry("keeper", Keeper(host)),
      Entry("cgroup.kill",
            YesOr(host.cgroup_kill, "processes are frozen and killed singly")),
      Entry("clone3", YesOr(host.clone_into_cgroup,
                            "a command moves itself to its cgroup")),
      Entry("pidfd", YesOr(host.pidfd_signals, "kill(2) is used")));
  return text;
}

std::string DiagnosisToJson(const Diagnosis& diagnosis) {
  const HostInfo& host = diagnosis.host;
  const Rung* best = diagnosis.Best();
  Json rungs = Json::array();
  for (const Rung& rung : diagnosis.rungs) {
    rungs.push_back({{"containment", rung.name},
                     {"works", rung.status.ok()},
                     {"reason", ErrorOrNull(rung.status)},
                     {"fix", OrNull(rung.fix)}});
  }
  Json json = {{"schema_version", 1},
               {"best", best == nullptr ? Json(nullptr) : Json(best->name)},
               {"healthy", diagnosis.IsHealthy()},
               {"rungs", rungs},
               {"kernel", host.kernel},
               {"cgroup_layout", CgroupLayoutName(host.layout)},
               {"mount_point", OrNull(host.mount_point)},
               {"mount_options", OrNull(host.mount_options)},
               {"own_cgroup", OrNull(host.own_cgroup)},
               {"own_cgroup_owner", host.own_cgroup_owner},
               {"own_cgroup_writable",
                host.own_cgroup_writable && !host.mount_read_only},
               {"systemd_running", host.systemd_running},
               {"delegated", host.delegated},
               {"keeper", OrNull(host.keeper)},
               {"no_cgroup_kill", ErrorOrNull(host.cgroup_kill)},
               {"no_clone_into_cgroup", ErrorOrNull(host.clone_into_cgroup)},
               {"no_pidfd_signals", ErrorOrNull(host.pidfd_signals)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace treekill::cli
