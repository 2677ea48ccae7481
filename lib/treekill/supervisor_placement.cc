// Where a tree goes: below our own cgroup, the keeper's, or a scope's; or into
// none.
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/containment/keeper.h"
#include "treekill/containment/placement.h"
#include "treekill/error.h"
#include "treekill/kernel/error.h"
#include "treekill/supervisor_impl.h"
#include "treekill/systemd/delegation.h"

namespace treekill {

using internal::Attempt;
using internal::ComingLeader;

namespace {

// What a keeper's leaf could not give.
bool AsksForScope(const ScopeOptions& options) {
  return options.manager != SystemdManager::kAuto || !options.unit.empty() ||
         !options.slice.empty() || !options.properties.empty();
}

// A cgroup of our own holds as firmly as a scope, but systemd does not know it.
bool Suffices(Containment containment, Containment require) {
  return require == Containment::kScope ? containment == Containment::kScope
                                        : !IsWeaker(containment, require);
}

// Is it that systemd cannot be asked, or does not want to? What this process
// lacks, or was told wrongly, is no reason to do with less.
bool MeansNoScope(const absl::Status& failure) {
  return !failure.ok() && !absl::IsInvalidArgument(failure) &&
         !absl::IsCancelled(failure) && kernel::StatusErrno(failure) == 0;
}

}  // namespace

absl::Status Supervisor::Impl::Place() {
  bool choose = options_.containment == Containment::kAuto;
  containment_ = choose ? Containment::kCgroup : options_.containment;
  if (!choose && !Suffices(containment_, options_.require)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "containment ", ContainmentName(containment_),
        options_.require == Containment::kScope ? " is not" : " is weaker than",
        " what is required: ", ContainmentName(options_.require)));
  }
  if (containment_ != Containment::kCgroup) return absl::OkStatus();
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  if (!placement.ok()) {
    if (!choose || internal::LacksResources(placement.status())) {
      return placement.status();
    }
    Attempt attempt{.containment = Containment::kCgroup};
    absl::Status less = GoDown(placement.status(), TreeOptions(), &attempt);
    containment_ = attempt.containment;
    no_cgroup_ = attempt.reason;
    return less;
  }
  // The single-writer rule: what systemd has not delegated is its own. But a
  // service must not leave processes in a scope when it is killed as a whole.
  bool foreign =
      placement->right == containment::PlacementRight::kUndelegated &&
      !(placement->parent.IsWritable() &&
        systemd::IsInService(placement->parent.path()));
  bool scope_required = options_.require == Containment::kScope;
  if (choose && (foreign || scope_required)) {
    containment_ = Containment::kScope;
  }
  placement_ =
      std::make_shared<const containment::Placement>(*std::move(placement));
  wants_keeper_ = foreign && !scope_required;
  FindKeeper();
  return absl::OkStatus();
}

// Anew for each tree: it may have come or gone.
void Supervisor::Impl::FindKeeper() {
  if (keeper_ != nullptr && containment::IsKept(keeper_->parent)) return;
  keeper_.reset();
  if (!wants_keeper_) return;
  absl::StatusOr<containment::Placement> keeper =
      containment::FindKeeper(placement_->parent);
  if (!keeper.ok()) return;
  keeper_ = std::make_shared<const containment::Placement>(*std::move(keeper));
}

// Is that why a tree could not be started? Its cgroup may be removed at any
// step before the leader is in it.
bool Supervisor::Impl::KeeperHasGone(const absl::Status& failure) const {
  int error = ErrnoOf(failure);
  std::string call = CallOf(failure);
  return keeper_ != nullptr && (error == ENOENT || error == ENODEV) &&
         (call == "mkdir" || call == "open" || call == "clone3" ||
          call == "write");
}

std::string Supervisor::Impl::placement() const {
  const auto& placement = keeper_ == nullptr ? placement_ : keeper_;
  if (containment() == Containment::kScope) return "a transient one of systemd";
  if (placement == nullptr) return "no cgroup";
  const std::string& path = placement->parent.path();
  switch (placement->right) {
    case containment::PlacementRight::kNoManager:
      return absl::StrCat("below ", path);
    case containment::PlacementRight::kDelegated:
      return absl::StrCat("below ", path, ", which systemd has delegated");
    case containment::PlacementRight::kKeeper:
      return absl::StrCat("below ", path, ", which is the keeper's");
    case containment::PlacementRight::kUndelegated:
      break;
  }
  return absl::StrCat("below ", path,
                      ", which systemd manages and has not delegated");
}

Containment Supervisor::Impl::FirstContainment(const TreeOptions& options) {
  FindKeeper();
  if (AsksForScope(options.scope)) keeper_.reset();
  return containment();
}

absl::Status Supervisor::Impl::PlaceTree(TreeState& tree, ComingLeader* leader,
                                         Attempt* attempt) {
  switch (attempt->containment) {
    case Containment::kCgroup:
      tree.placement = keeper_ == nullptr ? placement_ : keeper_;
      break;
    case Containment::kScope: {
      absl::Status opened = OpenScope(tree, leader);
      attempt->no_place = MeansNoScope(opened);
      return opened;
    }
    default:
      break;
  }
  return absl::OkStatus();
}

// Chooses what Containment::kAuto takes when the containment of `attempt` is
// not to be had, for the reason `why`; else says so.
absl::Status Supervisor::Impl::GoDown(const absl::Status& why,
                                      const TreeOptions& options,
                                      Attempt* attempt) {
  attempt->no_place = false;
  // It may be stopped at any time. That is no fault to be told: without one
  // the tree would not have been placed there.
  if (KeeperHasGone(why)) {
    keeper_.reset();
    attempt->containment = containment_;
    return absl::OkStatus();
  }
  if (options_.containment != Containment::kAuto) return why;
  if (attempt->containment == Containment::kCgroup && keeper_ != nullptr) {
    keeper_.reset();
    attempt->containment = containment_;
  } else if (attempt->containment == Containment::kScope &&
             placement_ != nullptr && placement_->parent.IsWritable()) {
    attempt->containment = Containment::kCgroup;
  } else {
    attempt->containment = Containment::kSubreaper;
  }
  // The first reason is the one to be done something about.
  if (attempt->reason.ok()) attempt->reason = why;
  if (Suffices(attempt->containment, options_.require) &&
      internal::CheckLeaks(options, *attempt).ok()) {
    return absl::OkStatus();
  }
  if (options_.require == Containment::kScope) return why;
  absl::Status none = kernel::WithContext(why, "no cgroup can be had");
  if (!kernel::StatusHint(none).empty()) return none;
  return kernel::WithHint(
      none,
      "log in so that systemd gives you a manager (loginctl enable-linger "
      "gives one that stays), run as root, or require less");
}

absl::StatusOr<std::unique_ptr<containment::Hold>> Supervisor::Impl::MakeHold(
    TreeState& tree) {
  switch (tree.report.containment) {
    case Containment::kProcess:
      return containment::HoldProcess();
    case Containment::kProcessGroup:
      return containment::HoldProcessGroup();
    case Containment::kSubreaper: {
      auto reaper =
          std::make_unique<guardian::ReaperClient>(guardian::ReaperForm{
              .program = options_.guardian_program,
              .tree = tree.leaf_name,
              .kill_on_death = tree.options.on_supervisor_death ==
                               OnSupervisorDeath::kKillTree,
              .drain_timeout = tree.options.teardown.drain_timeout,
              .adopts_orphans = options_.adopt_orphans});
      tree.reaper = reaper.get();
      return reaper;
    }
    case Containment::kAuto:
    case Containment::kCgroup:
    case Containment::kScope:
      break;
  }
  return containment::HoldInCgroup(*tree.placement, tree.leaf_name);
}

}  // namespace treekill
