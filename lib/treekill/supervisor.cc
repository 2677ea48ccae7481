// The life of a tree once it is born: watched, ended, reported.
#include "treekill/supervisor.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "treekill/error.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/supervisor_impl.h"
#include "treekill/supervisor_journal.h"

namespace treekill {
namespace {

using internal::GroupToSignal;
using internal::KeyOf;
using internal::KillModeNow;
using internal::NoteError;
using internal::Phase;
using internal::Source;
using internal::TreeState;

// After a signal the hold is asked whether it is empty, at growing intervals: a
// cgroup tells of one change in 10 ms only, and other holds of none.
constexpr absl::Duration kFirstAsk = absl::Milliseconds(1);
constexpr absl::Duration kLastAsk = absl::Milliseconds(64);
// There is no event of a parent that has died at last, and whose child was
// being born when it was signalled.
absl::Duration LastAskForLatecomers() {
  return kernel::TimeLimit("latecomers", absl::Seconds(1));
}
// From this interval on SIGKILL is repeated each time: on kernels before 6.14 a
// fork in flight can miss it, and there is no event of that.
constexpr absl::Duration kKillAgain = absl::Milliseconds(16);

// Is the first signal more than the leader's?
bool IsForMembers(KillMode mode) {
  return mode == KillMode::kControlGroup || mode == KillMode::kProcessGroup;
}

ExitStatus ToExitStatus(const kernel::ChildEnd& end) {
  switch (end.how) {
    case kernel::ChildEnd::How::kExited:
      return ExitStatus::Exited(end.value);
    case kernel::ChildEnd::How::kKilled:
      return ExitStatus::Signaled(end.value, end.core_dumped);
    case kernel::ChildEnd::How::kUnknown:
      break;
  }
  return ExitStatus();
}

void NoteEnd(TreeState& tree, const kernel::ChildEnd& end) {
  tree.report.status = ToExitStatus(end);
  tree.report.user_time = absl::DurationFromTimeval(end.usage.ru_utime);
  tree.report.system_time = absl::DurationFromTimeval(end.usage.ru_stime);
  tree.report.max_rss_kib = end.usage.ru_maxrss;
}

}  // namespace

// ----------------------------------------------------------------- watching

absl::Status Supervisor::Impl::Serve(absl::Duration timeout) {
  absl::StatusOr<std::vector<uint64_t>> keys = loop_.Poll(timeout);
  if (!keys.ok()) return keys.status();
  for (uint64_t key : *keys) {
    if (key == internal::kGuardianKey) ReplaceGuardian();
    if (key == internal::kSystemdKey) OnSystemdEvent();
    auto found = trees_.find(key >> 2);
    if (found == trees_.end()) continue;
    // Finish() takes it out of the map.
    std::shared_ptr<TreeState> tree = found->second;
    if (key == KeyOf(tree->id, Source::kLeader)) {
      OnLeaderEvent(*tree);
    } else {
      TryFinish(*tree);
    }
  }
  absl::Duration now = kernel::MonotonicNow();
  while (!alarms_.empty() && alarms_.begin()->first <= now) {
    if (alarms_.begin()->second == internal::kNoTree) {
      alarms_.erase(alarms_.begin());
      RestoreGuardian();
      continue;
    }
    std::shared_ptr<TreeState> tree = trees_.at(alarms_.begin()->second);
    SetAlarm(*tree, absl::InfiniteDuration());
    OnAlarm(*tree);
  }
  if (options_.adopt_orphans) ReapAdopted();
  return ArmTimer();
}

void Supervisor::Impl::OnLeaderEvent(TreeState& tree) {
  if (!tree.hold->LeaderHasEnded()) return;
  reserve_.clear();
  // That it has ended, epoll has said. Its status cannot be had as long as
  // somebody traces it: ReapLeader() asks again.
  absl::StatusOr<std::optional<kernel::ChildEnd>> end =
      tree.hold->PollLeaderEnd(tree.pidfd.get(), /*reap=*/false);
  NoteError(tree, end.status());
  loop_.Forget(internal::LeaderFd(tree));
  EndReason reason = EndReason::kLeaderExited;
  {
    std::lock_guard<std::mutex> lock(tree.mutex);
    tree.leader_ended = true;
    if (tree.kill_requested) reason = EndReason::kKilled;
  }
  absl::Duration now = kernel::MonotonicNow();
  tree.report.run_time = now - tree.started;
  if (end.ok() && end->has_value()) NoteEnd(tree, **end);
  if (tree.phase != Phase::kRunning) {
    bool kill_rest =
        tree.phase == Phase::kGrace &&
        (reason == EndReason::kKilled || KillModeNow(tree) == KillMode::kMixed);
    if (!TryFinish(tree) && kill_rest) StartDrain(tree);
    return;
  }
  tree.report.reason = reason;
  tree.ending = now;
  if (tree.report.status.signaled()) NoteEndByName(tree);
  if (TryFinish(tree)) return;
  NoteEndByName(tree);
  if (reason == EndReason::kLeaderExited && !tree.ended_by_name) {
    OnLeaks(tree);
  } else {
    BeginTeardown(tree, reason, /*first_signal=*/0);
  }
}

void Supervisor::Impl::OnAlarm(TreeState& tree) {
  absl::Duration now = kernel::MonotonicNow();
  switch (tree.phase) {
    case Phase::kRunning:
      OnTimeout(tree);
      return;
    case Phase::kWait:
      WaitOn(tree);
      return;
    case Phase::kGrace:
      if (TryFinish(tree)) return;
      if (now >= tree.grace_end) {
        StartStep(tree, tree.step + 1);
        return;
      }
      if (IsForMembers(KillModeNow(tree))) tree.hold->SignalLatecomers();
      AskLater(tree);
      return;
    case Phase::kDrain:
      if (TryFinish(tree)) return;
      if (now >= tree.drain_end) {
        GiveUp(tree);
        return;
      }
      if (tree.ask >= kKillAgain) NoteError(tree, tree.Kill());
      AskLater(tree);
      return;
    case Phase::kEnded:
      return;
  }
}

// ------------------------------------------------------------------ the end

void Supervisor::Impl::BeginTeardown(TreeState& tree, EndReason reason,
                                     int first_signal) {
  if (tree.phase == Phase::kWait) {
    EndWait(tree);
  } else if (tree.phase != Phase::kRunning) {
    // A second word, and that is a harder one.
    if (reason == EndReason::kKilled && tree.phase == Phase::kGrace) {
      StartDrain(tree);
      (void)ArmTimer();
    }
    return;
  }
  tree.paused.reset();
  reserve_.clear();
  if (!tree.ended_by_name) tree.report.reason = reason;
  if (!tree.leader_ended) tree.ending = kernel::MonotonicNow();
  if (tree.phase == Phase::kRunning) WatchTree(tree);
  bool by_itself = tree.leader_ended && !tree.ended_by_name;
  if (by_itself && reason != EndReason::kKilled) {
    NoteLeaks(tree);
  } else if (reason != EndReason::kKilled && tree.options.describe_members) {
    tree.report.members = Describe(tree);
  }
  std::vector<TeardownStep>& steps = tree.options.teardown.steps;
  if (first_signal != 0 && !steps.empty()) steps[0].signal = first_signal;
  if (reason == EndReason::kKilled) {
    StartDrain(tree);
  } else {
    StartStep(tree, 0);
  }
  (void)ArmTimer();
}

void Supervisor::Impl::WatchTree(TreeState& tree) {
  if (tree.hold->events_fd() < 0) return;
  NoteError(tree, loop_.Watch(tree.hold->events_fd(), tree.hold->event_mask(),
                              KeyOf(tree.id, Source::kEvents)));
}

void Supervisor::Impl::NoteLeaks(TreeState& tree) {
  bool describes = tree.options.describe_members || internal::IsInJournal(tree);
  // To look for those that have moved out is a read of all of /proc.
  absl::StatusOr<std::vector<pid_t>> members =
      describes ? internal::FindPids(tree) : tree.hold->Members();
  if (!members.ok()) {
    NoteError(tree, members.status());
    return;
  }
  tree.report.leaked_count = static_cast<int>(members->size());
  if (describes) {
    tree.report.leaked =
        internal::DescribeTree(*members, internal::BoundsOf(tree));
  }
  internal::JournalLeak(tree);
}

// What goes wrong with it is no reason to end the tree any later.
std::vector<Member> Supervisor::Impl::Describe(TreeState& tree) {
  absl::StatusOr<std::vector<Member>> members = internal::FindMembers(tree);
  NoteError(tree, members.status());
  return members.ok() ? *std::move(members) : std::vector<Member>();
}

void Supervisor::Impl::StartStep(TreeState& tree, size_t step) {
  const std::vector<TeardownStep>& steps = tree.options.teardown.steps;
  if (step >= steps.size() || steps[step].signal == SIGKILL) {
    StartDrain(tree);
    return;
  }
  tree.phase = Phase::kGrace;
  tree.step = step;
  tree.grace_end = kernel::MonotonicNow() + steps[step].grace;
  TellPhase(tree);
  if (step == 0) tree.report.first_signal = steps[0].signal;
  if (!SendStepSignal(tree, steps[step].signal)) {
    StartDrain(tree);
    return;
  }
  // To send it to thousands takes its time, which is not theirs.
  tree.grace_end = kernel::MonotonicNow() + steps[step].grace;
  tree.ask = absl::ZeroDuration();
  AskLater(tree);
  TryFinish(tree);
}

void Supervisor::Impl::AskLater(TreeState& tree) {
  bool has_events = tree.hold->events_fd() >= 0 && !tree.hold->EventsAreOver();
  bool only_latecomers = has_events && tree.phase == Phase::kGrace;
  tree.ask = std::clamp(tree.ask * 2, kFirstAsk,
                        only_latecomers ? LastAskForLatecomers() : kLastAsk);
  absl::Duration moment = kernel::MonotonicNow() + tree.ask;
  if (tree.phase == Phase::kDrain) {
    SetAlarm(tree, std::min(moment, tree.drain_end));
    return;
  }
  absl::Duration end = tree.phase == Phase::kWait
                           ? std::min(tree.timeout_end, tree.wait_end)
                           : tree.grace_end;
  bool relies_on_events =
      has_events && tree.phase == Phase::kWait && tree.ask >= kKillAgain;
  SetAlarm(tree, relies_on_events ? end : std::min(moment, end));
}

// Returns false when there is nobody to wait for.
bool Supervisor::Impl::SendStepSignal(TreeState& tree, int signal) {
  KillMode mode = KillModeNow(tree);
  bool anybody = false;
  if (IsForMembers(mode)) {
    containment::SignalRound round =
        tree.hold->Signal(signal, GroupToSignal(tree, mode));
    NoteError(tree, round.error);
    // One that moved out of the leaf is still ours to signal.
    if (round.leader_signalled || tree.leader_ended) {
      return round.signalled > 0;
    }
    anybody = round.signalled > 0;
  }
  if (tree.leader_ended) return false;
  absl::Status sent = kernel::SendSignalAndContinue(tree.pidfd.get(),
                                                    tree.report.leader, signal);
  // A setuid leader cannot be asked, but it can be killed: by the cgroup.
  if (ErrnoOf(sent) != EPERM) NoteError(tree, sent);
  return anybody || sent.ok();
}

void Supervisor::Impl::StartDrain(TreeState& tree) {
  bool was_grace = std::exchange(tree.phase, Phase::kDrain) == Phase::kGrace;
  if (was_grace) TellPhase(tree);
  tree.paused.reset();
  tree.drain_end =
      kernel::MonotonicNow() +
      kernel::TimeLimit("drain", tree.options.teardown.drain_timeout);
  absl::StatusOr<bool> empty = tree.hold->IsEmpty();
  NoteError(tree, empty.status());
  if (!tree.leader_ended || !empty.ok() || !*empty) tree.report.killed = true;
  NoteError(tree, tree.Kill());
  tree.ask = absl::ZeroDuration();
  AskLater(tree);
  TryFinish(tree);
}

// Ends the tree if nothing of it is alive: seen, not assumed.
bool Supervisor::Impl::TryFinish(TreeState& tree) {
  if (tree.phase == Phase::kEnded) return true;
  // Read in any case: until then the events descriptor stays ready.
  absl::StatusOr<bool> empty = tree.hold->IsEmpty();
  NoteError(tree, empty.status());
  bool by_cgroup = tree.hold->cgroup_fd() >= 0;
  if ((!empty.ok() && by_cgroup) || tree.hold->EventsAreOver()) {
    loop_.Forget(tree.hold->events_fd());
  }
  // Without an answer there is a proof left: only an empty leaf is removed.
  bool may_be_empty =
      empty.ok() ? *empty : by_cgroup && tree.phase == Phase::kDrain;
  if (!tree.leader_ended || !may_be_empty) {
    if (tree.phase != Phase::kDrain || !tree.hold->IsRefused()) return false;
    // To wait would change nothing.
    GiveUp(tree);
    return true;
  }
  ReapLeader(tree);
  bool before_teardown =
      tree.phase == Phase::kRunning || tree.phase == Phase::kWait;
  if (before_teardown && options_.adopt_orphans) {
    absl::StatusOr<std::vector<pid_t>> orphans = FindOrphans(tree);
    tree.awaits_orphans = orphans.ok() && !orphans->empty();
    if (tree.awaits_orphans) return false;
  }
  if (!tree.reaped || (options_.adopt_orphans && !OrphansAreGone(tree))) {
    if (tree.phase != Phase::kDrain) StartDrain(tree);
    return tree.phase == Phase::kEnded;
  }
  absl::Status removed = tree.hold->Remove();
  if (kernel::IsBusy(removed)) {
    if (tree.phase != Phase::kDrain) StartDrain(tree);
    return tree.phase == Phase::kEnded;
  }
  NoteError(tree, removed);
  tree.report.drained = true;
  Finish(tree);
  return true;
}

// Before the leaf is removed, because from Linux 7.0 on an rmdir may wait for
// zombies to be reaped.
void Supervisor::Impl::ReapLeader(TreeState& tree) {
  std::lock_guard<std::mutex> lock(tree.mutex);
  if (tree.reaped) return;
  absl::StatusOr<std::optional<kernel::ChildEnd>> end =
      tree.hold->PollLeaderEnd(tree.pidfd.get(), /*reap=*/true);
  NoteError(tree, end.status());
  if (end.ok() && end->has_value() && !tree.report.status.known()) {
    NoteEnd(tree, **end);
  }
  // An error will not go away by asking again.
  tree.reaped = !end.ok() || end->has_value();
}

void Supervisor::Impl::GiveUp(TreeState& tree) {
  std::vector<pid_t> alive(tree.strays.begin(), tree.strays.end());
  absl::StatusOr<std::vector<pid_t>> members = tree.hold->Members();
  NoteError(tree, members.status());
  if (members.ok()) {
    alive.insert(alive.end(), members->begin(), members->end());
  }
  NoteError(tree, tree.orphans_unseen);
  tree.report.survivors =
      internal::DescribeTree(alive, internal::BoundsOf(tree));
  ReapLeader(tree);
  absl::Status removed = tree.hold->Remove();
  // An empty list proves nothing: it may hide who is there.
  absl::StatusOr<bool> seen = tree.hold->IsEmpty();
  bool by_cgroup = tree.hold->cgroup_fd() >= 0;
  bool empty = (by_cgroup && removed.ok()) || (seen.ok() && *seen);
  // What a cgroup says of itself; without one the survivors say it all.
  NoteError(tree, by_cgroup ? removed : seen.status());
  tree.hold->GiveUp();
  tree.report.drained = empty && tree.leader_ended &&
                        tree.orphans_unseen.ok() &&
                        tree.report.survivors.empty();
  Finish(tree);
}

void Supervisor::Impl::Finish(TreeState& tree) {
  std::shared_ptr<TreeState> keep = trees_.at(tree.id);
  SetAlarm(tree, absl::InfiniteDuration());
  if (tree.phase == Phase::kWait) EndWait(tree);
  if (!tree.leader_ended) loop_.Forget(internal::LeaderFd(tree));
  if (tree.phase != Phase::kRunning && tree.hold->events_fd() >= 0) {
    loop_.Forget(tree.hold->events_fd());
  }
  tree.phase = Phase::kEnded;
  tree.supervisor = nullptr;
  tree.report.teardown_time = kernel::MonotonicNow() - tree.ending;
  trees_.erase(tree.id);
  Unguard(tree);
  internal::JournalEnd(tree);
}

}  // namespace treekill
