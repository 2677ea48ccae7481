// Runs that a leaf holds.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "treekill/containment/leaves.h"
#include "treekill/containment/placement.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/cgroup_events.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/live_run_impl.h"

namespace treekill {
namespace {

using containment::LeafName;
using containment::OwnerSight;
using containment::OwnerState;
using kernel::Cgroup;

constexpr char kScopeSuffix[] = ".scope";

// The file's text; "" when it cannot be read.
std::string ReadControl(const Cgroup& cgroup, const std::string& file) {
  return kernel::ReadFile(cgroup.fd(), file,
                          absl::StrCat(cgroup.path(), "/", file))
      .value_or("");
}

std::optional<absl::Duration> CpuTimeOf(const Cgroup& leaf) {
  for (absl::string_view line :
       absl::StrSplit(ReadControl(leaf, "cpu.stat"), '\n')) {
    int64_t microseconds = 0;
    if (absl::ConsumePrefix(&line, "usage_usec ") &&
        absl::SimpleAtoi(line, &microseconds)) {
      return absl::Microseconds(microseconds);
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> MemoryOf(const Cgroup& leaf) {
  uint64_t bytes = 0;
  bool known = absl::SimpleAtoi(
      absl::StripAsciiWhitespace(ReadControl(leaf, "memory.current")), &bytes);
  return known ? std::optional<uint64_t>(bytes) : std::nullopt;
}

// The service or scope that is nearest above the leaf; "" without one.
std::string UnitOf(const std::string& leaf) {
  std::vector<std::string> names = absl::StrSplit(leaf, '/');
  auto unit =
      std::find_if(names.rbegin(), names.rend(), [](const std::string& name) {
        return absl::EndsWith(name, kScopeSuffix) ||
               absl::EndsWith(name, ".service");
      });
  return unit == names.rend() ? "" : *unit;
}

// Was the scope right above the leaf made for it? Then it is called after a
// tree, or whoever supervises it is not in the scope himself.
bool IsInScopeOfItsOwn(const std::string& parent, const OwnerSight& owner) {
  std::string scope = parent.substr(parent.rfind('/') + 1);
  if (!absl::EndsWith(scope, kScopeSuffix)) return false;
  std::string name(absl::StripSuffix(scope, kScopeSuffix));
  if (containment::ParseLeafName(name).has_value()) return true;
  if (owner.state != OwnerState::kAlive) return false;
  absl::StatusOr<std::string> cgroup = kernel::ReadCgroupOfProcess(owner.pid);
  return cgroup.ok() && !containment::IsInLeaf(*cgroup, scope);
}

std::vector<pid_t> WithoutRepeats(std::vector<pid_t> pids) {
  std::unordered_set<pid_t> seen;
  std::erase_if(pids, [&seen](pid_t pid) { return !seen.insert(pid).second; });
  return pids;
}

absl::StatusOr<std::vector<pid_t>> PidsOf(const Cgroup& leaf) {
  absl::StatusOr<kernel::CgroupMembers> members =
      leaf.Members(Cgroup::Modes::kLeave);
  if (!members.ok()) return members.status();
  return WithoutRepeats(std::move(members->pids));
}

absl::StatusOr<OwnerSight> OwnerOf(const Cgroup& leaf, const LeafName& name) {
  absl::StatusOr<OwnerSight> owner = containment::SeeOwner(leaf, name.owner);
  if (!absl::IsPermissionDenied(owner.status())) return owner;
  // Its marks are hidden.
  return containment::SeeOwner(name.owner);
}

// kNotFound: it is over.
absl::StatusOr<LiveRunInfo> LookAt(const Cgroup& leaf, const Cgroup& parent,
                                   const std::string& directory,
                                   const LeafName& name) {
  absl::StatusOr<kernel::CgroupEvents> events = kernel::ReadCgroupEvents(leaf);
  if (events.ok() && !events->populated) {
    return absl::NotFoundError("nobody of it is alive");
  }
  if (!events.ok() && !absl::IsPermissionDenied(events.status())) {
    return events.status();
  }
  absl::StatusOr<OwnerSight> owner = OwnerOf(leaf, name);
  if (!owner.ok()) return owner.status();
  absl::StatusOr<std::vector<pid_t>> pids = PidsOf(leaf);
  if (!pids.ok() && !absl::IsPermissionDenied(pids.status())) {
    return pids.status();
  }
  LiveRunInfo info = internal::InfoOf(directory, name, *owner);
  if (events.ok() && events->frozen) info.state = RunState::kFrozen;
  info.leaf = leaf.path();
  info.unit = UnitOf(parent.path());
  if (IsInScopeOfItsOwn(parent.path(), *owner)) {
    info.containment = Containment::kScope;
  }
  info.uid = leaf.owner();
  if (pids.ok()) info.pids = *std::move(pids);
  info.cpu_time = CpuTimeOf(leaf);
  info.memory = MemoryOf(leaf);
  // Nobody else is in the scope.
  bool is_counted_above =
      !info.memory.has_value() && info.containment == Containment::kScope;
  if (is_counted_above) info.memory = MemoryOf(parent);
  bool is_alive = owner->state == OwnerState::kAlive;
  internal::FindLeader(is_alive ? owner->pid : 0,
                       containment::FindLeader(leaf, name.owner), &info);
  return info;
}

class CgroupRun final : public LiveRun::Impl {
 public:
  // `cgroup_id` tells the leaf from another in its place.
  CgroupRun(LiveRunInfo info, uint64_t cgroup_id)
      : Impl(std::move(info)), cgroup_id_(cgroup_id) {}

  absl::StatusOr<std::vector<pid_t>> Pids() const override {
    absl::StatusOr<Cgroup> leaf = OpenLeaf();
    if (!leaf.ok()) return leaf.status();
    return PidsOf(*leaf);
  }

  absl::StatusOr<std::vector<Member>> Members() const override {
    absl::StatusOr<std::vector<pid_t>> inside = Pids();
    if (!inside.ok()) return inside.status();
    absl::StatusOr<std::vector<kernel::ProcessStat>> below =
        kernel::ListDescendants(*inside);
    if (!below.ok()) return below.status();
    std::vector<pid_t> pids = *inside;
    std::unordered_set<pid_t> descendants;
    for (const kernel::ProcessStat& process : *below) {
      pids.push_back(process.pid);
      descendants.insert(process.pid);
    }
    const internal::TreeBounds bounds = BoundsOfLeaf();
    std::vector<Member> members =
        internal::DescribeTree(WithoutRepeats(std::move(pids)), bounds);
    // Its pid is another's by now.
    std::erase_if(members, [&](const Member& member) {
      return descendants.count(member.pid) == 0 &&
             !containment::IsInLeaf(member.cgroup, bounds.leaf_name);
    });
    return members;
  }

  absl::Status SetFrozen(bool frozen, absl::Duration until) override {
    absl::StatusOr<Cgroup> leaf = OpenPopulated();
    if (!leaf.ok()) return leaf.status();
    absl::Status set = leaf->SetFrozen(frozen);
    if (!set.ok()) return internal::WithOwner(set, info());
    absl::StatusOr<bool> stands = kernel::AwaitFrozen(*leaf, frozen, until);
    if (absl::IsNotFound(stands.status())) return Over();
    if (!stands.ok()) return stands.status();
    if (*stands) return absl::OkStatus();
    return absl::DeadlineExceededError(
        frozen ? absl::StrCat("a member of ", info().id,
                              " does not stand still yet: it may be in "
                              "uninterruptible sleep")
               : absl::StrCat(info().id,
                              " is still frozen: a cgroup above it may be"));
  }

  absl::StatusOr<bool> AwaitEnd(absl::Duration until) override {
    absl::StatusOr<Cgroup> leaf = OpenLeaf();
    if (!leaf.ok()) return leaf.status();
    return kernel::AwaitEmpty(*leaf, until);
  }

  absl::StatusOr<std::unique_ptr<containment::Hold>> MakeHold() override {
    absl::StatusOr<Cgroup> leaf = OpenPopulated();
    if (!leaf.ok()) return leaf.status();
    absl::StatusOr<OwnerSight> owner =
        OwnerOf(*leaf, *containment::ParseLeafName(info().id));
    if (!owner.ok()) return owner.status();
    // Nobody else removes it.
    bool is_left = owner->kept || owner->state == OwnerState::kGone;
    if (!is_left) return containment::HoldForeign(*std::move(leaf));
    absl::StatusOr<Cgroup> root = containment::OpenHierarchy();
    if (!root.ok()) return root.status();
    size_t slash = info().leaf.rfind('/');
    absl::StatusOr<Cgroup> parent =
        root->OpenBelow(info().leaf.substr(0, slash));
    if (!parent.ok()) return parent.status();
    parent_ = std::make_unique<const Cgroup>(*std::move(parent));
    return containment::TakeOverLeaf(*parent_, info().id);
  }

  void MarkEnd() override {
    absl::StatusOr<Cgroup> leaf = OpenLeaf();
    if (leaf.ok()) (void)containment::SetBeingEnded(*leaf);
  }

  absl::Status Join() override {
    absl::StatusOr<Cgroup> leaf = OpenPopulated();
    if (!leaf.ok()) return leaf.status();
    absl::Status moved =
        kernel::MoveToCgroup(getpid(), leaf->fd(), leaf->path());
    if (absl::IsNotFound(moved)) return Over();
    return internal::WithOwner(moved, info());
  }

 private:
  absl::Status Over() const {
    return absl::NotFoundError(absl::StrCat(info().id, " is over"));
  }

  absl::StatusOr<Cgroup> OpenLeaf() const {
    absl::StatusOr<Cgroup> root = containment::OpenHierarchy();
    if (!root.ok()) return root.status();
    absl::StatusOr<Cgroup> leaf = root->OpenBelow(info().leaf);
    if (absl::IsNotFound(leaf.status())) return Over();
    if (leaf.ok() && leaf->id() != cgroup_id_) return Over();
    return leaf;
  }

  // With somebody in it.
  absl::StatusOr<Cgroup> OpenPopulated() const {
    absl::StatusOr<Cgroup> leaf = OpenLeaf();
    if (!leaf.ok()) return leaf;
    absl::StatusOr<kernel::CgroupEvents> events =
        kernel::ReadCgroupEvents(*leaf);
    bool is_over =
        events.ok() ? !events->populated : absl::IsNotFound(events.status());
    if (is_over) return Over();
    return leaf;
  }

  internal::TreeBounds BoundsOfLeaf() const {
    absl::StatusOr<Cgroup> leaf = OpenLeaf();
    std::optional<containment::LeaderMark> leader;
    if (leaf.ok()) {
      leader = containment::FindLeader(
          *leaf, containment::ParseLeafName(info().id)->owner);
    }
    internal::TreeBounds bounds = Bounds(leader);
    bounds.leaf_name = info().id;
    bounds.has_cgroup_kill =
        leaf.ok() && leaf->OpenControl("cgroup.kill", O_PATH).ok();
    if (leader.has_value() && leader->owner_adopts && info().supervisor_alive) {
      bounds.adopters = {info().supervisor};
    }
    return bounds;
  }

  const uint64_t cgroup_id_;
  // Of a hold.
  std::unique_ptr<const Cgroup> parent_;
};

}  // namespace

absl::Status internal::FindCgroupRuns(RunImpls* found) {
  absl::StatusOr<Cgroup> root = containment::OpenHierarchy();
  // Then there are none.
  if (absl::IsFailedPrecondition(root.status())) return absl::OkStatus();
  if (!root.ok()) return root.status();
  return containment::VisitLeaves(
      *root,
      [&](const Cgroup& parent, const std::string& directory,
          const LeafName& name) -> absl::StatusOr<bool> {
        absl::StatusOr<Cgroup> leaf =
            parent.OpenBelow(absl::StrCat(parent.path(), "/", directory));
        absl::StatusOr<LiveRunInfo> info =
            leaf.ok() ? LookAt(*leaf, parent, directory, name) : leaf.status();
        if (absl::IsNotFound(info.status())) return true;
        if (!info.ok()) return info.status();
        found->push_back(
            std::make_unique<CgroupRun>(*std::move(info), leaf->id()));
        return true;
      });
}

}  // namespace treekill
