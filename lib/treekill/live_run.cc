#include "treekill/live_run.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "treekill/guardian/finish.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/process_directory.h"
#include "treekill/live_run_impl.h"

namespace treekill {
namespace {

// Among that many that came first the leader is looked for first: members are
// listed in the order in which they came, as a rule.
constexpr size_t kFirst = 16;

using kernel::ProcessStat;

bool IsOlder(const ProcessStat& a, const std::optional<ProcessStat>& b) {
  return !b.has_value() ||
         std::tie(a.start_time, a.pid) < std::tie(b->start_time, b->pid);
}

struct Eldest {
  std::optional<ProcessStat> child;
  std::optional<ProcessStat> any;
};

void LookAt(pid_t pid, pid_t parent, Eldest* eldest) {
  std::optional<ProcessStat> stat = kernel::ReadProcessStat(pid);
  if (!stat.has_value() || stat->IsDead()) return;
  bool is_child = parent != 0 && stat->parent == parent;
  if (is_child && IsOlder(*stat, eldest->child)) eldest->child = *stat;
  if (IsOlder(*stat, eldest->any)) eldest->any = *stat;
}

absl::Status CheckHoldsUs(const LiveRun::Impl& run, const char* would) {
  absl::StatusOr<std::vector<pid_t>> pids = run.Pids();
  if (!pids.ok()) return pids.status();
  if (std::find(pids->begin(), pids->end(), getpid()) == pids->end()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(run.info().id, " holds treekill itself, which would ", would,
                   "; do it from elsewhere"));
}

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

const char* RunStateName(RunState state) {
  switch (state) {
    case RunState::kFrozen:
      return "frozen";
    case RunState::kKept:
      return "kept";
    case RunState::kOrphaned:
      return "orphaned";
    case RunState::kRunning:
      break;
  }
  return "running";
}

LiveRunInfo internal::InfoOf(const std::string& id,
                             const containment::LeafName& name,
                             const containment::OwnerSight& owner) {
  LiveRunInfo info;
  info.name = name.name;
  info.id = id;
  info.supervisor = owner.pid;
  absl::Duration age = kernel::BootTimeNow() - name.owner.moment;
  info.age = std::max(age, absl::ZeroDuration());
  if (owner.kept) {
    info.state = RunState::kKept;
  } else if (owner.state == containment::OwnerState::kGone) {
    info.state = RunState::kOrphaned;
  }
  if (owner.state == containment::OwnerState::kAlive) {
    info.supervisor_alive = true;
    std::optional<ProcessStat> stat = kernel::ReadProcessStat(owner.pid);
    if (stat.has_value()) info.supervisor_name = stat->comm;
  }
  return info;
}

void internal::FindLeader(pid_t leaders_parent,
                          const std::optional<containment::LeaderMark>& mark,
                          LiveRunInfo* info) {
  const std::vector<pid_t>& pids = info->pids;
  Eldest eldest;
  if (mark.has_value()) {
    if (std::find(pids.begin(), pids.end(), mark->pid) != pids.end()) {
      LookAt(mark->pid, leaders_parent, &eldest);
    }
    leaders_parent = 0;
  }
  size_t first = leaders_parent == 0 ? 0 : std::min(kFirst, pids.size());
  for (size_t i = 0; i < first; ++i) LookAt(pids[i], leaders_parent, &eldest);
  for (size_t i = first; i < pids.size() && !eldest.child.has_value(); ++i) {
    LookAt(pids[i], leaders_parent, &eldest);
  }
  if (eldest.child.has_value()) info->leader = eldest.child->pid;
  const std::optional<ProcessStat>& shown =
      eldest.child.has_value() ? eldest.child : eldest.any;
  if (!shown.has_value()) return;
  info->command_name = shown->comm;
  std::vector<Member> described = DescribeMembers({shown->pid});
  if (described.empty()) return;
  info->argv = std::move(described[0].argv);
  info->argv_truncated = described[0].argv_truncated;
}

absl::Status internal::WithOwner(const absl::Status& status,
                                 const LiveRunInfo& info) {
  if (!absl::IsPermissionDenied(status) || info.uid == geteuid()) return status;
  return kernel::WithHint(
      status, absl::StrCat("it is user ", info.uid, "'s; run as that or root"));
}

internal::TreeBounds LiveRun::Impl::Bounds(
    const std::optional<containment::LeaderMark>& mark) const {
  if (mark.has_value()) {
    return {.leader = info_.leader,
            .process_group = mark->process_group,
            .session = mark->session,
            .uid = mark->uid,
            .dies_with_parent = mark->dies_with_parent};
  }
  internal::TreeBounds bounds;
  bounds.uid = info_.uid;
  std::optional<ProcessStat> leader;
  if (info_.leader != 0) leader = kernel::ReadProcessStat(info_.leader);
  std::optional<ProcessStat> supervisor;
  if (info_.supervisor_alive) {
    supervisor = kernel::ReadProcessStat(info_.supervisor);
  }
  if (!leader.has_value() || !supervisor.has_value()) return bounds;
  bounds.leader = leader->pid;
  bounds.session = supervisor->session;
  // It has been given one of its own, or none.
  bounds.process_group = leader->process_group == supervisor->process_group
                             ? supervisor->process_group
                             : leader->pid;
  absl::StatusOr<kernel::ProcessDirectory> directory =
      kernel::ProcessDirectory::Open(leader->pid);
  if (!directory.ok()) return bounds;
  absl::StatusOr<kernel::ProcessStatus> status = directory->Status();
  if (status.ok()) bounds.uid = status->uid;
  return bounds;
}

LiveRun::LiveRun(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LiveRun::LiveRun(LiveRun&&) noexcept = default;
LiveRun& LiveRun::operator=(LiveRun&&) noexcept = default;
LiveRun::~LiveRun() = default;

const LiveRunInfo& LiveRun::info() const { return impl_->info(); }

absl::StatusOr<std::vector<Member>> LiveRun::Members() const {
  absl::StatusOr<std::vector<Member>> members = impl_->Members();
  if (absl::IsNotFound(members.status())) return std::vector<Member>();
  return members;
}

absl::Status LiveRun::Freeze(absl::Duration patience) {
  absl::Status may = CheckHoldsUs(*impl_, "stand still as well");
  if (!may.ok()) return may;
  return impl_->SetFrozen(true, kernel::MonotonicNow() + patience);
}

absl::Status LiveRun::Thaw(absl::Duration patience) {
  return impl_->SetFrozen(false, kernel::MonotonicNow() + patience);
}

absl::StatusOr<bool> LiveRun::Wait(absl::Duration timeout) {
  absl::Duration until = kernel::MonotonicNow() + timeout;
  absl::Status may = CheckHoldsUs(*impl_, "wait for its own end");
  if (absl::IsNotFound(may)) return true;
  if (!may.ok()) return may;
  absl::StatusOr<bool> ended = impl_->AwaitEnd(until);
  if (absl::IsNotFound(ended.status())) return true;
  return ended;
}

absl::StatusOr<RunEnd> LiveRun::End(const EndOptions& options) {
  return EndAll({this}, options)[0];
}

std::vector<absl::StatusOr<RunEnd>> LiveRun::EndAll(
    const std::vector<LiveRun*>& runs, const EndOptions& options) {
  std::vector<absl::StatusOr<RunEnd>> ends;
  // The finisher of each that has one.
  std::vector<guardian::Finisher> finishers;
  std::vector<size_t> finished;
  for (LiveRun* run : runs) {
    bool signalled = false;
    absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
        run->BeginEnd(options, &signalled);
    if (!hold.ok()) {
      ends.push_back(hold.status());
      continue;
    }
    guardian::RestOfTeardown rest;
    rest.drain_timeout = options.drain_timeout;
    // Those in a PID namespace that is not below ours cannot be signalled one
    // by one: then nobody has anything to do in the grace.
    if (signalled) {
      rest.grace_end = kernel::MonotonicNow() + options.grace;
    }
    finished.push_back(ends.size());
    ends.push_back(RunEnd());
    finishers.emplace_back(*std::move(hold), rest);
  }
  guardian::FinishAll(&finishers);
  for (size_t i = 0; i < finished.size(); ++i) {
    RunEnd& end = *ends[finished[i]];
    end.error = finishers[i].result();
    end.drained = end.error.ok();
    end.killed = finishers[i].killed();
    if (end.drained) continue;
    absl::StatusOr<std::vector<pid_t>> alive = finishers[i].hold().Members();
    if (alive.ok()) end.survivors = internal::DescribeMembers(*alive);
  }
  return ends;
}

absl::Status LiveRun::MayEnd() const { return HoldToEnd().status(); }

absl::StatusOr<std::unique_ptr<containment::Hold>> LiveRun::HoldToEnd() const {
  absl::Status may = CheckHoldsUs(*impl_, "end itself");
  if (!may.ok()) return may;
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold = impl_->MakeHold();
  if (!hold.ok()) return internal::WithOwner(hold.status(), info());
  return hold;
}

absl::StatusOr<std::unique_ptr<containment::Hold>> LiveRun::BeginEnd(
    const EndOptions& options, bool* signalled) {
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold = HoldToEnd();
  if (!hold.ok()) return hold;
  impl_->MarkEnd();
  if (options.signal != SIGKILL) {
    containment::SignalRound round =
        (*hold)->Signal(options.signal, /*only_group=*/0);
    *signalled = round.signalled > 0;
  }
  return hold;
}

absl::Status LiveRun::Join() { return impl_->Join(); }

absl::StatusOr<std::vector<LiveRun>> ListRuns() {
  absl::Status proc = kernel::CheckProc();
  if (!proc.ok()) return proc;
  internal::RunImpls found;
  absl::Status looked = internal::FindCgroupRuns(&found);
  if (looked.ok()) looked = internal::FindReaperRuns(&found);
  if (!looked.ok()) return looked;
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a->info().age > b->info().age;
  });
  std::vector<LiveRun> runs;
  for (auto& impl : found) runs.emplace_back(std::move(impl));
  return runs;
}

absl::StatusOr<std::vector<LiveRun>> FindRuns(const std::string& target) {
  absl::StatusOr<std::vector<LiveRun>> runs = ListRuns();
  if (!runs.ok()) return runs.status();
  const std::string path = WithoutSlashes(target);
  pid_t pid = 0;
  bool is_number = absl::SimpleAtoi(target, &pid) && pid > 0;
  auto is_called = [&](const LiveRunInfo& info) {
    return info.name == target || info.id == target || info.leaf == path;
  };
  auto is_own = [&](const LiveRunInfo& info) {
    return is_called(info) && info.uid == geteuid();
  };
  auto has_number = [&](const LiveRunInfo& info) {
    return is_number && info.supervisor_alive && info.supervisor == pid;
  };
  std::vector<LiveRun> meant;
  for (const std::function<bool(const LiveRunInfo&)>& is_meant :
       {std::function<bool(const LiveRunInfo&)>(is_own),
        std::function<bool(const LiveRunInfo&)>(is_called),
        std::function<bool(const LiveRunInfo&)>(has_number)}) {
    for (LiveRun& run : *runs) {
      if (!target.empty() && is_meant(run.info())) {
        meant.push_back(std::move(run));
      }
    }
    if (!meant.empty()) return meant;
  }
  return absl::NotFoundError(absl::StrCat("no run is called '", target,
                                          "'; 'treekill ps' lists them"));
}

}  // namespace treekill
