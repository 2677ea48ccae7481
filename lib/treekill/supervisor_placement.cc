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

using internal::ComingLeader;

namespace {

// What a keeper's leaf could not give.
bool AsksForScope(const ScopeOptions& options) {
  return options.manager != SystemdManager::kAuto || !options.unit.empty() ||
         !options.slice.empty() || !options.properties.empty();
}

}  // namespace

absl::Status Supervisor::Impl::Place() {
  bool choose = options_.containment == Containment::kAuto;
  containment_ = choose ? Containment::kCgroup : options_.containment;
  if (IsWeaker(containment_, options_.require)) {
    return absl::FailedPreconditionError(
        absl::StrCat("containment ", ContainmentName(containment_),
                     " is weaker than what is required: ",
                     ContainmentName(options_.require)));
  }
  if (containment_ != Containment::kCgroup) return absl::OkStatus();
  absl::StatusOr<containment::Placement> placement =
      containment::FindPlacement();
  if (!placement.ok()) return placement.status();
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

// Is that why a tree could not be started?
bool Supervisor::Impl::KeeperHasGone(const absl::Status& failure) const {
  int error = ErrnoOf(failure);
  std::string call = CallOf(failure);
  return keeper_ != nullptr && (error == ENOENT || error == ENODEV) &&
         (call == "mkdir" || call == "open" || call == "clone3");
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

absl::Status Supervisor::Impl::PlaceTree(TreeState& tree,
                                         ComingLeader* leader) {
  FindKeeper();
  if (AsksForScope(tree.options.scope)) keeper_.reset();
  tree.report.containment = containment();
  if (tree.report.containment == Containment::kCgroup) {
    tree.placement = keeper_ == nullptr ? placement_ : keeper_;
  }
  if (tree.report.containment != Containment::kScope) return absl::OkStatus();
  absl::Status opened = OpenScope(tree, leader);
  if (opened.ok() || !MayFallBack(opened)) return opened;
  return FallBack(tree, opened);
}

// Is it that systemd cannot be asked, or does not want to? What this process
// lacks, or was told wrongly, is no reason to do with less.
bool Supervisor::Impl::MayFallBack(const absl::Status& why) const {
  return options_.containment == Containment::kAuto &&
         options_.require != Containment::kScope &&
         !absl::IsInvalidArgument(why) && !absl::IsCancelled(why) &&
         kernel::StatusErrno(why) == 0;
}

// What Containment::kAuto takes when there is no scope to be had.
absl::Status Supervisor::Impl::FallBack(TreeState& tree,
                                        const absl::Status& why) {
  tree.report.unit.clear();
  tree.report.containment_error = why;
  if (placement_ != nullptr && placement_->parent.IsWritable()) {
    tree.placement = placement_;
    tree.report.containment = Containment::kCgroup;
    return absl::OkStatus();
  }
  // A group of its own would not be in the foreground of the terminal.
  tree.report.containment = tree.options.new_process_group
                                ? Containment::kProcessGroup
                                : Containment::kProcess;
  if (options_.require != Containment::kAuto &&
      !IsWeaker(tree.report.containment, options_.require)) {
    return absl::OkStatus();
  }
  return kernel::WithHint(
      absl::Status(why.code(),
                   absl::StrCat("no cgroup can be had: ", why.message())),
      "log in so that systemd gives you a manager (loginctl enable-linger "
      "gives one that stays), run as root, or choose --containment");
}

absl::StatusOr<std::unique_ptr<containment::Hold>> Supervisor::Impl::MakeHold(
    const TreeState& tree) const {
  switch (tree.report.containment) {
    case Containment::kProcess:
      return containment::HoldProcess();
    case Containment::kProcessGroup:
      return containment::HoldProcessGroup();
    case Containment::kAuto:
    case Containment::kCgroup:
    case Containment::kScope:
      break;
  }
  return containment::HoldInCgroup(*tree.placement, tree.leaf_name);
}

}  // namespace treekill
