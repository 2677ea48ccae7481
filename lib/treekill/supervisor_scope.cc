// A tree's transient scope: systemd is asked for it with the parked leader as
// its first process, and says when it is to be stopped.
#include <sys/epoll.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/json.h"
#include "treekill/kernel/error.h"
#include "treekill/supervisor_impl.h"
#include "treekill/systemd/property.h"
#include "treekill/systemd/unit_name.h"

namespace treekill {

using internal::ComingLeader;
using internal::TreeState;

namespace {

constexpr char kSuffix[] = ".scope";

// systemd kills by itself what is not gone that long after it has asked us.
absl::Duration StopTimeout(const TeardownPolicy& policy) {
  absl::Duration timeout = policy.drain_timeout + absl::Seconds(5);
  for (const TeardownStep& step : policy.steps) timeout += step.grace;
  return timeout;
}

// As far as a unit's name takes it.
std::string NameOfProgram(const std::string& program) {
  constexpr size_t kLongest = 64;
  std::string name = program.substr(program.rfind('/') + 1).substr(0, kLongest);
  for (char& c : name) {
    bool allowed = absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                   absl::StrContains("_.-", absl::string_view(&c, 1));
    if (!allowed) c = '_';
  }
  return name;
}

absl::StatusOr<std::string> NameOf(const std::string& given,
                                   const char* suffix) {
  absl::StatusOr<std::string> name = systemd::UnitNameFromUser(given, suffix);
  if (!name.ok() || absl::EndsWith(*name, suffix)) return name;
  return absl::InvalidArgumentError(
      absl::StrCat(*name, " is no name of a ", suffix + 1));
}

absl::StatusOr<std::string> UnitName(const TreeState& tree) {
  const std::string& given = tree.options.scope.unit;
  if (!given.empty()) return NameOf(given, kSuffix);
  std::string name = tree.options.name.empty()
                         ? NameOfProgram(tree.report.argv[0])
                         : tree.options.name;
  return absl::StrCat(containment::NewLeafName(name), kSuffix);
}

// In one line, and UTF-8, as D-Bus has no other texts. What was given for it is
// left as long as it is.
std::string Description(const TreeState& tree) {
  constexpr size_t kLongest = 256;
  std::string text = tree.options.scope.description;
  if (text.empty()) {
    text = absl::StrJoin(tree.report.argv, " ").substr(0, kLongest);
  }
  return internal::OneLine(text);
}

absl::StatusOr<std::vector<std::string>> Properties(const TreeState& tree) {
  const ScopeOptions& options = tree.options.scope;
  std::vector<std::string> properties = {
      absl::StrCat("Description=", Description(tree))};
  if (!options.slice.empty()) {
    absl::StatusOr<std::string> slice = NameOf(options.slice, ".slice");
    if (!slice.ok()) return slice.status();
    properties.push_back(absl::StrCat("Slice=", *slice));
  }
  properties.insert(properties.end(), options.properties.begin(),
                    options.properties.end());
  for (const std::string& property : properties) {
    absl::Status valid = systemd::ParseProperty(property).status();
    if (!valid.ok()) return valid;
    std::string utf8 = internal::ToUtf8(property);
    if (utf8 != property) {
      return absl::InvalidArgumentError(
          absl::StrCat("the property ", utf8, " is not UTF-8"));
    }
  }
  return properties;
}

}  // namespace

absl::Status Supervisor::Impl::OpenScope(TreeState& tree,
                                         ComingLeader* leader) {
  absl::StatusOr<std::string> unit = UnitName(tree);
  if (!unit.ok()) return unit.status();
  absl::StatusOr<std::vector<std::string>> properties = Properties(tree);
  if (!properties.ok()) return properties.status();
  // It takes its time to start, while the child is started.
  absl::Status asks = StartSystemdClient();
  if (!asks.ok()) return asks;
  absl::StatusOr<std::unique_ptr<kernel::ParkedChild>> parked =
      kernel::ParkedChild::Start(leader->plan.plan());
  if (!parked.ok()) return parked.status();
  tree.report.unit = *std::move(unit);
  absl::StatusOr<std::string> cgroup =
      systemd_->StartScope({.manager = tree.options.scope.manager,
                            .unit = tree.report.unit,
                            .pid = (*parked)->pid(),
                            .stop_timeout = StopTimeout(tree.options.teardown),
                            .properties = *std::move(properties),
                            .cancel_fd = tree.options.cancel_fd});
  if (absl::IsCancelled(cgroup.status())) {
    parked->reset();
    systemd_->GiveUp(tree.options.scope.manager, tree.report.unit);
  }
  if (!cgroup.ok()) {
    // One that does not answer now would answer the next request.
    if (!absl::IsFailedPrecondition(cgroup.status()) &&
        !absl::IsPermissionDenied(cgroup.status())) {
      DropSystemdClient();
    }
    return cgroup.status();
  }
  absl::StatusOr<containment::Placement> placement =
      containment::PlaceInScope(*cgroup, (*parked)->pid());
  if (!placement.ok()) return placement.status();
  tree.placement =
      std::make_shared<const containment::Placement>(*std::move(placement));
  leader->parked = *std::move(parked);
  return absl::OkStatus();
}

absl::Status Supervisor::Impl::StartSystemdClient() {
  if (systemd_.has_value()) return absl::OkStatus();
  absl::StatusOr<systemd::Client> client = systemd::Client::Start();
  if (!client.ok()) return client.status();
  absl::Status watched =
      loop_.Watch(client->fd(), EPOLLIN, internal::kSystemdKey);
  if (watched.ok()) systemd_ = *std::move(client);
  return watched;
}

void Supervisor::Impl::DropSystemdClient() {
  if (!systemd_.has_value()) return;
  loop_.Forget(systemd_->fd());
  systemd_.reset();
}

void Supervisor::Impl::OnSystemdEvent() {
  while (systemd_.has_value()) {
    absl::StatusOr<std::optional<std::string>> stopped =
        systemd_->NextStopped();
    if (!stopped.ok()) {
      // The trees are held by their cgroups, and do not need it.
      DropSystemdClient();
      return;
    }
    if (!stopped->has_value()) return;
    std::vector<std::shared_ptr<TreeState>> trees;
    for (const auto& [id, tree] : trees_) {
      if (tree->report.unit == **stopped) trees.push_back(tree);
    }
    for (const std::shared_ptr<TreeState>& tree : trees) {
      BeginTeardown(*tree, EndReason::kUnitStopped, /*first_signal=*/0);
    }
  }
}

}  // namespace treekill
