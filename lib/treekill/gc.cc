#include "treekill/gc.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/leaves.h"
#include "treekill/containment/placement.h"
#include "treekill/guardian/finish.h"
#include "treekill/json.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/cgroup_events.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/snapshot.h"

namespace treekill {
namespace {

// That are ended together. Each holds four descriptors meanwhile.
constexpr size_t kAtATime = 64;

// What a supervisor that has just died has left is for its guardian to end, who
// takes a moment to say so.
absl::Duration GuardiansMoment() {
  return kernel::TimeLimit("gc", absl::Milliseconds(100));
}

struct Candidate {
  // Of the cgroup that the leaf is in. It is opened when its turn has come: no
  // number of descriptors is enough for all of them.
  std::string parent;
  std::string directory;
  containment::LeafOwner owner;
  Garbage garbage;
  bool is_garbage = true;
};

absl::StatusOr<bool> IsGarbage(const kernel::Cgroup& parent,
                               const std::string& directory,
                               const containment::LeafOwner& owner) {
  absl::StatusOr<kernel::Cgroup> leaf = parent.OpenChild(directory);
  if (!leaf.ok()) return leaf.status();
  absl::StatusOr<containment::OwnerSight> sight =
      containment::SeeOwner(*leaf, owner);
  if (!sight.ok()) return sight.status();
  if (sight->state != containment::OwnerState::kGone) return false;
  if (sight->kept) {
    // Nobody else removes it when they have ended.
    absl::StatusOr<kernel::CgroupEvents> events =
        kernel::ReadCgroupEvents(*leaf);
    if (!events.ok()) return events.status();
    if (events->populated) return false;
  }
  absl::Status kill = leaf->OpenControl("cgroup.kill", O_WRONLY).status();
  // Before Linux 5.14 there is none.
  bool killable = kill.ok() || (absl::IsNotFound(kill) && leaf->IsWritable());
  if (!killable) return kill;
  return true;
}

// It has gone, or is another user's, and so not ours to end.
bool IsNoneOfOurs(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsPermissionDenied(status);
}

absl::StatusOr<std::vector<Candidate>> FindGarbage(const kernel::Cgroup& root) {
  std::vector<Candidate> found;
  absl::Status visited = containment::VisitLeaves(
      root,
      [&](const kernel::Cgroup& parent, const std::string& directory,
          const containment::LeafName& leaf) -> absl::StatusOr<bool> {
        absl::StatusOr<bool> garbage = IsGarbage(parent, directory, leaf.owner);
        if (!garbage.ok() && !IsNoneOfOurs(garbage.status())) {
          return garbage.status();
        }
        if (!garbage.ok() || !*garbage) return true;
        Garbage entry;
        entry.leaf = absl::StrCat(parent.path(), "/", directory);
        entry.name = leaf.name;
        entry.supervisor = leaf.owner.pid;
        found.push_back(
            {parent.path(), directory, leaf.owner, std::move(entry), true});
        return false;
      });
  if (!visited.ok()) return visited;
  return found;
}

// Ends leaves, several at a time.
class Collector final {
 public:
  Collector(const kernel::Cgroup& root, const GarbageOptions& options)
      : root_(root), options_(options) {}

  // `candidate` must live until End().
  void Take(Candidate* candidate) {
    absl::Status taken = TryTake(candidate);
    // What is being ended will give its descriptors back.
    if (!taken.ok() && !held_.empty()) {
      End();
      taken = TryTake(candidate);
    }
    candidate->is_garbage = !IsNoneOfOurs(taken);
    candidate->garbage.error = taken;
    if (held_.size() >= kAtATime) End();
  }

  // Blocks until all that was taken is drained.
  void End() {
    guardian::FinishAll(&finishers_);
    for (size_t i = 0; i < held_.size(); ++i) {
      Garbage& garbage = held_[i].candidate->garbage;
      garbage.error = finishers_[i].result();
      garbage.removed = garbage.error.ok();
      if (garbage.removed) continue;
      absl::StatusOr<std::vector<pid_t>> alive = finishers_[i].hold().Members();
      if (alive.ok()) garbage.survivors = internal::DescribeMembers(*alive);
    }
    finishers_.clear();
    held_.clear();
  }

 private:
  struct Held {
    Candidate* candidate;
    // Outlives its finisher.
    std::unique_ptr<const kernel::Cgroup> parent;
  };

  absl::Status TryTake(Candidate* candidate) {
    absl::StatusOr<kernel::Cgroup> opened = root_.OpenBelow(candidate->parent);
    if (!opened.ok()) return opened.status();
    auto parent = std::make_unique<const kernel::Cgroup>(*std::move(opened));
    // Others were waited for since it was found: its guardian may be at it.
    absl::StatusOr<bool> garbage =
        IsGarbage(*parent, candidate->directory, candidate->owner);
    if (!garbage.ok()) return garbage.status();
    if (!*garbage) return absl::NotFoundError("somebody else ends it");
    absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
        containment::TakeOverLeaf(*parent, candidate->directory);
    if (!hold.ok()) return hold.status();
    absl::StatusOr<std::vector<pid_t>> members = (*hold)->Members();
    if (members.ok()) {
      candidate->garbage.members = internal::DescribeMembers(*members);
    } else if (!absl::IsPermissionDenied(members.status())) {
      return members.status();
    }
    if (options_.dry_run) return absl::OkStatus();
    guardian::RestOfTeardown rest;
    rest.drain_timeout = options_.drain_timeout;
    finishers_.emplace_back(*std::move(hold), rest);
    held_.push_back({candidate, std::move(parent)});
    return absl::OkStatus();
  }

  const kernel::Cgroup& root_;
  const GarbageOptions& options_;
  std::vector<Held> held_;
  // Of the same length.
  std::vector<guardian::Finisher> finishers_;
};

}  // namespace

absl::StatusOr<std::vector<Garbage>> CollectGarbage(
    const GarbageOptions& options) {
  absl::StatusOr<kernel::Cgroup> root =
      options.below.empty() ? containment::OpenHierarchy()
                            : kernel::Cgroup::Open(options.below);
  if (!root.ok()) return root.status();
  absl::StatusOr<std::vector<Candidate>> found = FindGarbage(*root);
  if (!found.ok()) return found.status();
  // Each is looked at again when its turn has come.
  if (!found->empty()) absl::SleepFor(GuardiansMoment());
  Collector collector(*root, options);
  for (Candidate& candidate : *found) collector.Take(&candidate);
  collector.End();
  std::vector<Garbage> garbage;
  for (Candidate& candidate : *found) {
    if (candidate.is_garbage) garbage.push_back(std::move(candidate.garbage));
  }
  return garbage;
}

std::string GarbageToJson(const std::vector<Garbage>& garbage, bool dry_run) {
  internal::Json leaves = internal::Json::array();
  for (const Garbage& leaf : garbage) {
    leaves.push_back({{"leaf", leaf.leaf},
                      {"name", leaf.name},
                      {"supervisor", leaf.supervisor},
                      {"members", internal::MembersToJson(leaf.members)},
                      {"removed", leaf.removed},
                      {"survivors", internal::MembersToJson(leaf.survivors)},
                      {"error", internal::ErrorToJson(leaf.error)}});
  }
  return internal::Dump({{"schema_version", internal::kSchemaVersion},
                         {"dry_run", dry_run},
                         {"leaves", leaves}});
}

}  // namespace treekill
