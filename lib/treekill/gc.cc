#include "treekill/gc.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/placement.h"
#include "treekill/guardian/finish.h"
#include "treekill/json.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/mounts.h"
#include "treekill/supervisor_impl.h"

namespace treekill {
namespace {

// Each holds four descriptors while it is being ended.
constexpr size_t kAtATime = 64;

struct Candidate {
  std::shared_ptr<const kernel::Cgroup> parent;
  std::string directory;
  Garbage garbage;
};

absl::StatusOr<kernel::Cgroup> OpenRoot(const std::string& below) {
  if (!below.empty()) return kernel::Cgroup::Open(below);
  absl::StatusOr<kernel::CgroupMounts> mounts = kernel::ReadCgroupMounts();
  if (!mounts.ok()) return mounts.status();
  if (mounts->v2.empty()) {
    return absl::FailedPreconditionError(
        "no cgroup v2 is mounted here (no cgroup2 line in "
        "/proc/self/mountinfo), so there is nothing to collect");
  }
  return kernel::Cgroup::Open(mounts->v2.front().mount_point);
}

bool IsGarbage(const kernel::Cgroup& parent, const std::string& directory,
               const containment::LeafOwner& owner) {
  absl::StatusOr<kernel::Cgroup> leaf = parent.OpenChild(directory);
  if (!leaf.ok() ||
      containment::FindOwner(*leaf, owner) != containment::OwnerState::kGone) {
    return false;
  }
  // Another user's is not ours to end.
  absl::StatusOr<kernel::UniqueFd> kill =
      leaf->OpenControl("cgroup.kill", O_WRONLY);
  return !absl::IsPermissionDenied(kill.status());
}

absl::StatusOr<std::vector<Candidate>> FindGarbage(const kernel::Cgroup& root) {
  std::vector<Candidate> found;
  absl::Status visited =
      root.VisitBelow([&](const std::shared_ptr<const kernel::Cgroup>& parent,
                          const std::string& directory) {
        std::optional<containment::LeafName> leaf =
            containment::ParseLeafName(directory);
        if (!leaf.has_value() || !IsGarbage(*parent, directory, leaf->owner)) {
          return true;
        }
        Garbage garbage;
        garbage.leaf = absl::StrCat(parent->path(), "/", directory);
        garbage.name = leaf->name;
        garbage.supervisor = leaf->owner.pid;
        found.push_back({parent, directory, std::move(garbage)});
        return false;
      });
  if (!visited.ok()) return visited;
  return found;
}

std::vector<Member> MembersOf(const Candidate& candidate) {
  absl::StatusOr<kernel::Cgroup> leaf =
      candidate.parent->OpenChild(candidate.directory);
  if (!leaf.ok()) return {};
  absl::StatusOr<kernel::CgroupMembers> members = leaf->Members();
  if (!members.ok()) return {};
  return internal::DescribeMembers(members->pids);
}

void End(std::vector<Candidate*> candidates, absl::Duration drain_timeout) {
  std::vector<guardian::Finisher> finishers;
  std::vector<Candidate*> held;
  for (Candidate* candidate : candidates) {
    absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
        containment::TakeOverLeaf(*candidate->parent, candidate->directory);
    if (!hold.ok()) {
      // Its guardian may have been quicker.
      candidate->garbage.removed = absl::IsNotFound(hold.status());
      if (!candidate->garbage.removed) {
        candidate->garbage.error = hold.status();
      }
      continue;
    }
    guardian::RestOfTeardown rest;
    rest.drain_timeout = drain_timeout;
    finishers.emplace_back(*std::move(hold), rest);
    held.push_back(candidate);
  }
  guardian::FinishAll(&finishers);
  for (size_t i = 0; i < finishers.size(); ++i) {
    Garbage& garbage = held[i]->garbage;
    garbage.error = finishers[i].result();
    garbage.removed = garbage.error.ok();
    if (!garbage.removed) garbage.survivors = MembersOf(*held[i]);
  }
}

}  // namespace

absl::StatusOr<std::vector<Garbage>> CollectGarbage(
    const GarbageOptions& options) {
  absl::StatusOr<kernel::Cgroup> root = OpenRoot(options.below);
  if (!root.ok()) return root.status();
  absl::StatusOr<std::vector<Candidate>> found = FindGarbage(*root);
  if (!found.ok()) return found.status();
  for (size_t next = 0; next < found->size(); next += kAtATime) {
    std::vector<Candidate*> some;
    for (size_t i = next; i < std::min(next + kAtATime, found->size()); ++i) {
      (*found)[i].garbage.members = MembersOf((*found)[i]);
      some.push_back(&(*found)[i]);
    }
    if (!options.dry_run) End(std::move(some), options.drain_timeout);
  }
  std::vector<Garbage> garbage;
  for (Candidate& candidate : *found) {
    garbage.push_back(std::move(candidate.garbage));
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
