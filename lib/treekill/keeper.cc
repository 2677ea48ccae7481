#include "treekill/keeper.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/containment/keeper.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/directory_watch.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/link.h"
#include "treekill/systemd/notify.h"

namespace treekill {
namespace {

// After a leaf was made: most have gone by then, and nobody need look at them.
// After a supervisor has died: its guardian takes its place.
constexpr absl::Duration kLookLater = absl::Seconds(1);
// When an owner could not be watched.
constexpr absl::Duration kLookAgain = absl::Seconds(10);

// A keeper that waits does not hear that it is to end.
constexpr absl::Duration kDrain = absl::Seconds(2);

// No pid.
constexpr uint64_t kMadeKey = uint64_t{1} << 32;

absl::StatusOr<containment::Placement> OwnPlacement() {
  absl::StatusOr<containment::Placement> own = containment::FindPlacement();
  if (!own.ok()) return own;
  if (own->right == containment::PlacementRight::kUndelegated) {
    return absl::FailedPreconditionError(absl::StrCat(
        "systemd has not delegated ", own->parent.path(),
        " to the keeper; start treekill-keeper.service, or give the unit that "
        "it is in Delegate=yes"));
  }
  absl::StatusOr<containment::Placement> other =
      containment::FindKeeper(own->parent);
  if (other.ok()) {
    return absl::AlreadyExistsError(
        absl::StrCat("there is a keeper already, of ", other->parent.path()));
  }
  return own;
}

absl::Status MoveToOwnChild(const kernel::Cgroup& cgroup) {
  const char* name = containment::kKeeperItself;
  absl::StatusOr<kernel::Cgroup> child = cgroup.MakeChild(name);
  // Of a keeper that was here before.
  if (absl::IsAlreadyExists(child.status())) child = cgroup.OpenChild(name);
  if (!child.ok()) return child.status();
  return kernel::MoveToCgroup(getpid(), child->fd(), child->path());
}

}  // namespace

class Keeper::Impl final {
 public:
  Impl(const KeeperOptions& options, kernel::Cgroup cgroup,
       kernel::EventLoop loop, kernel::DirectoryWatch made)
      : options_(options),
        cgroup_(std::move(cgroup)),
        loop_(std::move(loop)),
        made_(std::move(made)) {}

  ~Impl() {
    if (!link_.empty()) kernel::RemoveLink(link_, cgroup_.path());
  }

  absl::Status Begin() {
    absl::Status moved = MoveToOwnChild(cgroup_);
    if (!moved.ok()) return moved;
    absl::Status watched = loop_.Watch(made_.fd(), EPOLLIN, kMadeKey);
    if (!watched.ok()) return watched;
    std::string link = containment::KeeperLink();
    absl::Status linked = kernel::SetLink(link, cgroup_.path());
    if (!linked.ok()) return linked;
    link_ = link;
    absl::Status told = systemd::NotifyManager("READY=1");
    if (!told.ok()) return told;
    return loop_.SetTimer(absl::ZeroDuration());
  }

  absl::StatusOr<std::vector<Garbage>> Dispatch() {
    absl::StatusOr<std::vector<uint64_t>> keys =
        loop_.Poll(absl::ZeroDuration());
    if (!keys.ok()) return keys.status();
    for (uint64_t key : *keys) {
      auto pid = static_cast<pid_t>(key);
      if (key == kMadeKey) {
        OnLeafMade();
      } else if (owners_.count(pid) > 0) {
        OnOwnerDied(pid);
      }
    }
    absl::StatusOr<std::vector<Garbage>> garbage = DoWhatIsDue();
    absl::Status armed = loop_.SetTimer(std::min(next_look_, next_sweep_));
    if (!armed.ok()) return armed;
    return garbage;
  }

  const std::string& path() const { return cgroup_.path(); }
  int fd() const { return loop_.fd(); }

 private:
  void LookIn(absl::Duration time) {
    next_look_ = std::min(next_look_, kernel::MonotonicNow() + time);
  }

  void OnLeafMade() {
    // Until the look it may be readable for all we care.
    loop_.Forget(made_.fd());
    LookIn(kLookLater);
  }

  void OnOwnerDied(pid_t owner) {
    std::erase_if(known_,
                  [&](const auto& leaf) { return leaf.second == owner; });
    ForgetOwner(owners_.find(owner));
    LookIn(kLookLater);
  }

  std::map<pid_t, kernel::UniqueFd>::iterator ForgetOwner(
      std::map<pid_t, kernel::UniqueFd>::iterator owner) {
    loop_.Forget(owner->second.get());
    return owners_.erase(owner);
  }

  // The look first: when the sweep is due as well, its time comes next.
  absl::StatusOr<std::vector<Garbage>> DoWhatIsDue() {
    absl::Duration now = kernel::MonotonicNow();
    if (next_look_ <= now) {
      next_look_ = absl::InfiniteDuration();
      absl::StatusOr<bool> garbage = Look();
      if (!garbage.ok()) LookIn(kLookAgain);
      if (!garbage.ok()) return garbage.status();
      return *garbage ? Collect(cgroup_.path()) : std::vector<Garbage>();
    }
    if (now < next_sweep_) return std::vector<Garbage>();
    next_sweep_ = now + options_.sweep_interval;
    absl::Status linked = KeepLink();
    if (!linked.ok()) return linked;
    return Collect("");
  }

  // What could not be ended is looked at again.
  absl::StatusOr<std::vector<Garbage>> Collect(const std::string& below) {
    absl::StatusOr<std::vector<Garbage>> garbage =
        CollectGarbage({.below = below, .drain_timeout = kDrain});
    bool done = garbage.ok() &&
                std::all_of(garbage->begin(), garbage->end(),
                            [](const Garbage& leaf) { return leaf.removed; });
    if (!done && !below.empty()) LookIn(kLookAgain);
    return garbage;
  }

  // Others may have removed its directory.
  absl::Status KeepLink() {
    absl::StatusOr<std::string> said = kernel::ReadLinkOf(geteuid(), link_);
    if (!absl::IsNotFound(said.status())) return absl::OkStatus();
    return kernel::SetLink(link_, cgroup_.path());
  }

  // Watches the owners of the leaves that are new. True when one is gone.
  absl::StatusOr<bool> Look() {
    made_.Clear();
    absl::Status watched = loop_.Watch(made_.fd(), EPOLLIN, kMadeKey);
    if (!watched.ok() && kernel::StatusErrno(watched) != EEXIST) return watched;
    std::set<std::string> present;
    bool garbage = false;
    absl::Status failure;
    absl::Status visited = cgroup_.VisitBelow(
        [&](const kernel::Cgroup& parent,
            const std::string& name) -> absl::StatusOr<bool> {
          std::optional<containment::LeafName> leaf =
              containment::ParseLeafName(name);
          if (!leaf.has_value()) return false;
          present.insert(name);
          if (known_.count(name) > 0) return false;
          absl::StatusOr<bool> gone = LookAt(parent, name, *leaf);
          failure.Update(gone.status());
          garbage = garbage || (gone.ok() && *gone);
          return false;
        });
    if (!visited.ok()) return visited;
    ForgetAllBut(present);
    // Nobody is left waiting for what could not be looked at.
    if (!failure.ok() && !garbage) return failure;
    if (!failure.ok()) LookIn(kLookAgain);
    return garbage;
  }

  // Is its owner gone?
  absl::StatusOr<bool> LookAt(const kernel::Cgroup& parent,
                              const std::string& name,
                              const containment::LeafName& leaf) {
    absl::StatusOr<kernel::Cgroup> opened = parent.OpenChild(name);
    if (absl::IsNotFound(opened.status())) return false;
    if (!opened.ok()) return opened.status();
    absl::StatusOr<containment::OwnerWatch> watch =
        containment::WatchOwner(*opened, leaf.owner);
    if (absl::IsNotFound(watch.status())) return false;
    if (!watch.ok()) return watch.status();
    if (watch->state == containment::OwnerState::kGone) return true;
    if (watch->state != containment::OwnerState::kAlive) {
      known_[name] = kNobody;
      return false;
    }
    if (owners_.count(watch->pid) == 0) {
      absl::Status watched = loop_.Watch(watch->pidfd.get(), EPOLLIN,
                                         static_cast<uint64_t>(watch->pid));
      if (!watched.ok()) return watched;
      owners_[watch->pid] = std::move(watch->pidfd);
    }
    known_[name] = watch->pid;
    return false;
  }

  void ForgetAllBut(const std::set<std::string>& present) {
    std::set<pid_t> still_own;
    std::erase_if(known_, [&](const auto& leaf) {
      bool gone = present.count(leaf.first) == 0;
      if (!gone) still_own.insert(leaf.second);
      return gone;
    });
    for (auto owner = owners_.begin(); owner != owners_.end();) {
      owner = still_own.count(owner->first) > 0 ? std::next(owner)
                                                : ForgetOwner(owner);
    }
  }

  static constexpr pid_t kNobody = 0;

  const KeeperOptions options_;
  const kernel::Cgroup cgroup_;
  kernel::EventLoop loop_;
  kernel::DirectoryWatch made_;
  std::string link_;
  // The leaves that need no look, and the pids of their owners; kNobody for
  // those that are nobody's to end.
  std::map<std::string, pid_t> known_;
  // Their pidfds.
  std::map<pid_t, kernel::UniqueFd> owners_;
  // Moments of kernel::MonotonicNow().
  absl::Duration next_look_ = absl::InfiniteDuration();
  absl::Duration next_sweep_ = absl::ZeroDuration();
};

absl::StatusOr<Keeper> Keeper::Start(const KeeperOptions& options) {
  if (options.sweep_interval <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the sweep interval must be more than 0");
  }
  absl::StatusOr<containment::Placement> own = OwnPlacement();
  if (!own.ok()) return own.status();
  absl::StatusOr<kernel::EventLoop> loop = kernel::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  absl::StatusOr<kernel::DirectoryWatch> made =
      kernel::DirectoryWatch::Create(own->parent.path());
  if (!made.ok()) return made.status();
  auto impl = std::make_unique<Impl>(options, std::move(own->parent),
                                     *std::move(loop), *std::move(made));
  absl::Status begun = impl->Begin();
  if (!begun.ok()) return begun;
  return Keeper(std::move(impl));
}

Keeper::Keeper(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Keeper::Keeper(Keeper&&) noexcept = default;
Keeper& Keeper::operator=(Keeper&&) noexcept = default;
Keeper::~Keeper() = default;

std::string Keeper::cgroup() const { return impl_->path(); }
int Keeper::fd() const { return impl_->fd(); }

absl::StatusOr<std::vector<Garbage>> Keeper::Dispatch() {
  return impl_->Dispatch();
}

}  // namespace treekill
