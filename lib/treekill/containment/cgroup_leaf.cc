#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/placement.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/cgroup_events.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/process_directory.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::containment {
namespace {

// A fork bomb always has members that have not been signalled yet.
constexpr int kMaxSignalPasses = 10;

// For so long after a signal a fork may have been under way, or been held up by
// it, as on a busy machine. Who is born later, or of a parent that catches the
// signal and lives on for longer, may be meant to tidy up.
absl::Duration InFlight() {
  return kernel::TimeLimit("fork", absl::Milliseconds(500));
}

// Does it catch or ignore the signal?
bool Survives(pid_t pid, int signal) {
  absl::StatusOr<kernel::ProcessDirectory> directory =
      kernel::ProcessDirectory::Open(pid);
  if (!directory.ok()) return false;
  absl::StatusOr<kernel::ProcessStatus> status = directory->Status();
  if (!status.ok()) return false;
  uint64_t survived = status->caught_signals | status->ignored_signals;
  return (survived >> (signal - 1) & 1) != 0;
}

class CgroupLeaf final : public Hold {
 public:
  // `maker` removes it in the end; without `parent` nobody does.
  CgroupLeaf(const kernel::Cgroup* parent, kernel::Cgroup leaf,
             std::string name, pid_t maker)
      : parent_(parent),
        leaf_(std::move(leaf)),
        name_(std::move(name)),
        maker_(maker) {}

  void SetControls(kernel::UniqueFd kill, kernel::UniqueFd events) {
    kill_fd_ = std::move(kill);
    events_fd_ = std::move(events);
  }

  ~CgroupLeaf() override {
    bool ours = parent_ != nullptr && maker_ == getpid();
    if (ours && !removed_ && !kept_) (void)Remove();
  }

  absl::Status OpenControls() {
    absl::StatusOr<kernel::UniqueFd> kill =
        leaf_.OpenControl("cgroup.kill", O_WRONLY);
    if (!kill.ok()) {
      // Before Linux 5.14: see KillOneByOne().
      if (kernel::StatusErrno(kill.status()) != ENOENT) return kill.status();
    } else {
      kill_fd_ = *std::move(kill);
    }
    absl::StatusOr<kernel::UniqueFd> events =
        leaf_.OpenControl("cgroup.events", O_RDONLY);
    if (!events.ok()) return events.status();
    events_fd_ = *std::move(events);
    return absl::OkStatus();
  }

  Containment kind() const override { return Containment::kCgroup; }
  std::string path() const override { return leaf_.path(); }
  int cgroup_fd() const override { return leaf_.fd(); }
  int events_fd() const override { return events_fd_.get(); }
  int kill_fd() const override { return kill_fd_.get(); }
  void SetLeader(pid_t pid, int) override { leader_ = pid; }

  absl::StatusOr<bool> IsEmpty() override {
    absl::StatusOr<bool> populated = kernel::ReadPopulated(
        events_fd_.get(), leaf_.path() + "/cgroup.events");
    if (!populated.ok()) return populated.status();
    return !*populated;
  }

  absl::StatusOr<std::vector<pid_t>> Members() override {
    absl::StatusOr<kernel::CgroupMembers> members = leaf_.Members();
    if (!members.ok()) return members.status();
    return std::move(members->pids);
  }

  // The kernel shows a process's last cgroup until it is reaped.
  bool Contains(pid_t pid) const override {
    absl::StatusOr<std::string> cgroup = kernel::ReadCgroupOfProcess(pid);
    return cgroup.ok() && IsInLeaf(*cgroup, name_);
  }

  absl::StatusOr<bool> Freeze(absl::Duration until) override {
    absl::Status set = leaf_.SetFrozen(true);
    if (!set.ok()) return set;
    return kernel::AwaitFrozen(leaf_, /*frozen=*/true, until);
  }
  absl::Status Thaw() override { return leaf_.SetFrozen(false); }

  SignalRound Signal(int signal, pid_t only_group) override {
    SignalRound round;
    // A frozen member would sleep through the whole grace period.
    round.error = leaf_.Thaw();
    signal_ = signal;
    only_group_ = only_group;
    signalled_.clear();
    signalled_at_ = kernel::BootTimeNow();
    SignalInPasses(signal, only_group, &signalled_, &round);
    return round;
  }

  void SignalLatecomers() override {
    if (signal_ == 0) return;
    absl::StatusOr<kernel::CgroupMembers> members = leaf_.Members();
    if (!members.ok()) return;
    const std::unordered_set<pid_t> alive(members->pids.begin(),
                                          members->pids.end());
    const absl::Duration until = signalled_at_ + InFlight();
    bool is_early = kernel::BootTimeNow() < until;
    SignalRound ignored;
    for (pid_t pid : members->pids) {
      if (signalled_.count(pid) > 0) continue;
      std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
      if (!stat.has_value()) continue;
      bool is_in_group = only_group_ == 0 || stat->process_group == only_group_;
      bool is_meant = is_in_group && stat->StartedAt() < until;
      bool is_orphan = alive.count(stat->parent) == 0;
      // A parent that dies of the signal may take its time.
      bool may_become_one =
          !is_orphan && (is_early || !Survives(stat->parent, signal_));
      if (is_meant && may_become_one) continue;
      signalled_.insert(pid);
      if (is_meant && is_orphan) {
        SignalMember(pid, *members, signal_, &ignored);
      }
    }
  }

  absl::Status Kill() override {
    if (kept_) return absl::OkStatus();
    if (!kill_fd_.valid()) return KillOneByOne();
    absl::Status status = kernel::WriteKill(kill_fd_.get(), kill_path());
    // Nothing may be left even so.
    if (!status.ok()) (void)KillOneByOne();
    return status;
  }

  bool IsRefused() const override { return refused_; }

  absl::Status Remove() override {
    if (parent_ == nullptr) return BusyUnlessEmpty("rmdir", leaf_.path());
    absl::Status status = parent_->RemoveChild(name_);
    removed_ = status.ok();
    return status;
  }

  void Keep() override { kept_ = true; }

 private:
  // Without cgroup.kill. Frozen, none of them forks, and who is just being born
  // is born frozen: so the passes end, however fast they had been forking. That
  // everybody is frozen is not waited for: one that sleeps in the kernel would
  // let us wait, and SIGKILL ends its fork as well.
  absl::Status KillOneByOne() {
    absl::Status status = leaf_.SetFrozen(true);
    SignalRound round;
    std::unordered_set<pid_t> killed;
    SignalInPasses(SIGKILL, /*only_group=*/0, &killed, &round);
    refused_ = round.refused > 0 && round.signalled == 0;
    status.Update(round.error);
    status.Update(leaf_.SetFrozen(false));
    return status;
  }

  // To those who are not in `done`, until nobody new is found.
  void SignalInPasses(int signal, pid_t only_group,
                      std::unordered_set<pid_t>* done, SignalRound* round) {
    for (int pass = 0; pass < kMaxSignalPasses; ++pass) {
      absl::StatusOr<kernel::CgroupMembers> members = leaf_.Members();
      if (!members.ok()) {
        round->error.Update(members.status());
        return;
      }
      bool any_new = false;
      for (pid_t pid : members->pids) {
        if (!done->insert(pid).second) continue;
        any_new = true;
        if (only_group != 0 && kernel::ProcessGroupOf(pid) != only_group) {
          continue;
        }
        SignalMember(pid, *members, signal, round);
      }
      if (!any_new) return;
    }
  }

  std::string kill_path() const { return leaf_.path() + "/cgroup.kill"; }

  // By a pidfd that is known to be a member's, so that a pid which was reused
  // since the list was read is not hit.
  void SignalMember(pid_t pid, const kernel::CgroupMembers& members, int signal,
                    SignalRound* round) const {
    absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(pid);
    if (!pidfd.ok()) {
      if (!absl::IsNotFound(pidfd.status())) {
        round->error.Update(pidfd.status());
      }
      return;
    }
    if (!IsMember(pid, pidfd->get(), members)) return;
    absl::Status sent =
        kernel::SendSignalAndContinue(pidfd->get(), pid, signal);
    if (sent.ok()) {
      ++round->signalled;
      if (pid == leader_) round->leader_signalled = true;
    } else if (kernel::StatusErrno(sent) == EPERM) {
      ++round->refused;
    } else {
      round->error.Update(sent);
    }
  }

  bool IsMember(pid_t pid, int pidfd,
                const kernel::CgroupMembers& members) const {
    std::optional<uint64_t> id = kernel::CgroupIdOf(pidfd);
    if (id.has_value()) return members.cgroup_ids.count(*id) > 0;
    if (kernel::CheckProc().ok()) return Contains(pid);
    // Without a /proc of ours: who is listed before and after its pidfd was
    // opened is a member.
    absl::StatusOr<kernel::CgroupMembers> again = leaf_.Members();
    return again.ok() && std::find(again->pids.begin(), again->pids.end(),
                                   pid) != again->pids.end();
  }

  const kernel::Cgroup* const parent_;
  const kernel::Cgroup leaf_;
  const std::string name_;
  kernel::UniqueFd kill_fd_;
  kernel::UniqueFd events_fd_;
  const pid_t maker_;
  pid_t leader_ = 0;
  // The last Signal(), if any.
  int signal_ = 0;
  pid_t only_group_ = 0;
  // A moment of kernel::BootTimeNow().
  absl::Duration signalled_at_;
  // Or not to be signalled.
  std::unordered_set<pid_t> signalled_;
  // Kill() may be called by any thread.
  std::atomic<bool> refused_ = false;
  bool removed_ = false;
  // Kill() may be called by any thread.
  std::atomic<bool> kept_ = false;
};

std::string HintFor(int error, PlacementRight right,
                    const std::string& parent) {
  switch (error) {
    case EROFS:
      return "cgroupfs is read-only, as in most containers; have this one "
             "started by podman run --security-opt unmask=/sys/fs/cgroup, or "
             "docker run --security-opt writable-cgroups=true (Docker 28, not "
             "rootless; else --privileged)";
    case EACCES:
    case EPERM:
      if (right == PlacementRight::kNoManager) {
        std::string yours = absl::StrCat(parent, "/user-", geteuid());
        return absl::StrCat(
            "run as root, or have root give your shell a cgroup: mkdir ", yours,
            " && chown -R ", geteuid(), " ", yours, " && echo SHELL-PID >",
            yours, "/cgroup.procs");
      }
      return "systemd manages this cgroup; get one that is delegated: "
             "systemd-run --user --scope -p Delegate=yes COMMAND";
    case EAGAIN:
    case ENOSPC:
      return absl::StrCat("a limit is reached, here or above: echo max >",
                          parent,
                          "/cgroup.max.descendants (or cgroup.max.depth)");
    default:
      return "";
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Hold>> HoldInCgroup(const Placement& placement,
                                                   const std::string& name) {
  absl::StatusOr<kernel::Cgroup> leaf = placement.parent.MakeChild(name);
  if (!leaf.ok()) {
    int error = kernel::StatusErrno(leaf.status());
    return kernel::WithHint(leaf.status(), HintFor(error, placement.right,
                                                   placement.parent.path()));
  }
  auto hold = std::make_unique<CgroupLeaf>(&placement.parent, *std::move(leaf),
                                           name, getpid());
  absl::Status opened = hold->OpenControls();
  if (!opened.ok()) return opened;
  return hold;
}

absl::StatusOr<std::unique_ptr<Hold>> TakeOverLeaf(const kernel::Cgroup& parent,
                                                   const std::string& name,
                                                   LeafFds fds) {
  constexpr pid_t kAnother = 0;
  if (fds.directory.valid() && fds.kill.valid() && fds.events.valid()) {
    auto leaf = kernel::Cgroup::Adopt(std::move(fds.directory),
                                      absl::StrCat(parent.path(), "/", name));
    auto hold =
        std::make_unique<CgroupLeaf>(&parent, std::move(leaf), name, kAnother);
    hold->SetControls(std::move(fds.kill), std::move(fds.events));
    return hold;
  }
  absl::StatusOr<kernel::Cgroup> leaf = parent.OpenChild(name);
  if (!leaf.ok()) return leaf.status();
  auto hold =
      std::make_unique<CgroupLeaf>(&parent, *std::move(leaf), name, kAnother);
  absl::Status opened = hold->OpenControls();
  if (!opened.ok()) return opened;
  return hold;
}

absl::StatusOr<std::unique_ptr<Hold>> HoldForeign(kernel::Cgroup cgroup) {
  constexpr pid_t kAnother = 0;
  std::string name = cgroup.path().substr(cgroup.path().rfind('/') + 1);
  bool writable = cgroup.IsWritable();
  auto hold =
      std::make_unique<CgroupLeaf>(nullptr, std::move(cgroup), name, kAnother);
  absl::Status opened = hold->OpenControls();
  if (!opened.ok()) return opened;
  // Else it would have been the opening of cgroup.kill that failed.
  if (hold->kill_fd() < 0 && !writable) {
    return kernel::ErrnoStatus(EACCES, "open", hold->path());
  }
  return hold;
}

}  // namespace treekill::containment
