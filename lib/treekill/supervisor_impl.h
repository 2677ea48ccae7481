// The state of a tree and of its supervisor: internal to the library. The life
// of a tree is in supervisor.cc.
#ifndef TREEKILL_SUPERVISOR_IMPL_H_
#define TREEKILL_SUPERVISOR_IMPL_H_

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/containment/hold.h"
#include "treekill/containment/placement.h"
#include "treekill/guardian/client.h"
#include "treekill/guardian/reaper_client.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/parked_child.h"
#include "treekill/snapshot.h"
#include "treekill/spawn_plan.h"
#include "treekill/supervisor.h"
#include "treekill/systemd/client.h"
#include "treekill/tree.h"

namespace treekill {
namespace internal {

enum class Phase {
  kRunning,
  // The leader has ended by itself, and the others are waited for
  // (OnLeak::kWait).
  kWait,
  // A step's signal has been sent, and its grace period goes on.
  kGrace,
  // SIGKILL has been sent; until nothing is alive and the leaf is gone.
  kDrain,
  kEnded,
};

struct TreeState {
  uint64_t id = 0;
  // Null when the tree has ended, or its supervisor has.
  Supervisor::Impl* supervisor = nullptr;
  // The leaf's parent, for as long as the leaf may have to be removed.
  std::shared_ptr<const containment::Placement> placement;
  std::unique_ptr<containment::Hold> hold;
  // The hold, with Containment::kSubreaper.
  guardian::ReaperClient* reaper = nullptr;
  std::string leaf_name;
  // Where the leader's streams go: see TreeBounds.
  std::string stdout_target;
  std::string stderr_target;
  kernel::UniqueFd pidfd;
  pid_t owner = 0;
  TreeOptions options;
  TreeReport report;

  // The guardian is to know of it; it may be that there is none just now.
  bool guarded = false;
  bool parent_death_signal = false;

  Phase phase = Phase::kRunning;
  size_t step = 0;
  // The first step is TreeOptions::timeout_first_step.
  bool timeout_first = false;
  // The orphans that have been found and killed, and are not reaped.
  std::set<pid_t> strays;
  bool awaits_orphans = false;
  // Of the leaf of those who were set apart, to be kept; "" without.
  std::string kept_leaf_name;
  // Why orphans could not be looked for, if so.
  absl::Status orphans_unseen;

  // Moments of kernel::MonotonicNow().
  absl::Duration started;
  absl::Duration ending;
  // Of the timer in the supervisor's set; infinite without one.
  absl::Duration alarm = absl::InfiniteDuration();
  absl::Duration timeout_end = absl::InfiniteDuration();
  absl::Duration wait_end = absl::InfiniteDuration();
  absl::Duration grace_end = absl::InfiniteDuration();
  absl::Duration drain_end = absl::InfiniteDuration();
  // How long after the last look the hold is looked at again.
  absl::Duration ask;
  // Since when the timers stand still.
  std::optional<absl::Duration> paused;

  // Kill() may come from any thread, and must not hit a pid or process group
  // that is free again.
  std::mutex mutex;
  bool leader_ended = false;
  // LiveRun::End() has told it to.
  bool ended_by_name = false;
  bool reaped = false;
  bool kill_requested = false;

  absl::Status Kill();
};

// What epoll says is ready: a tree, and what of it, or the guardian.
enum class Source : uint64_t { kLeader = 1, kEvents = 2 };
constexpr uint64_t KeyOf(uint64_t id, Source source) {
  return id << 2 | static_cast<uint64_t>(source);
}
// The number of no tree.
constexpr uint64_t kNoTree = 0;
constexpr uint64_t kGuardianKey = KeyOf(kNoTree, Source::kLeader);
constexpr uint64_t kSystemdKey = KeyOf(kNoTree, Source::kEvents);

// A try to start a tree.
struct Attempt {
  Containment containment = Containment::kAuto;
  // Why it is not what would have been better.
  absl::Status reason = absl::OkStatus();
  // It has failed because that containment is not to be had.
  bool no_place = false;
};

// Can who outlives the leader be kept, if that is wanted?
absl::Status CheckLeaks(const TreeOptions& options, const Attempt& attempt);

// What this process lacks for the moment is no reason to do with less.
bool LacksResources(const absl::Status& failure);

// What is to become the leader.
struct ComingLeader {
  SpawnPlan plan;
  // With a scope, which cannot be empty: it is there before its leaf is.
  std::unique_ptr<kernel::ParkedChild> parked;
};

// Notes it in the report: one line for each thing that goes wrong, however
// often it does.
void NoteError(TreeState& tree, const absl::Status& error);

// What is ready for EPOLLIN when the leader may have ended.
int LeaderFd(const TreeState& tree);

// To whom the signal of the step under way goes.
KillMode KillModeNow(const TreeState& tree);

// The process group that signals are confined to with `mode`; 0: to none.
pid_t GroupToSignal(const TreeState& tree, KillMode mode);

bool WantsParentDeathSignal(const TreeOptions& options);

// What the members of the tree are compared with.
TreeBounds BoundsOf(const TreeState& tree);

// Is it one that is to be kept, or who has come of one?
bool IsSetApart(const TreeState& tree, pid_t pid);

// Leaves word of BoundsOf() at a leaf of the tree's, for ListRuns().
void MarkLeader(const TreeState& tree, int leaf_fd, const std::string& shown);

// Who is alive of it now, those that have moved out of the leaf and are to be
// found included.
absl::StatusOr<std::vector<pid_t>> FindPids(const TreeState& tree);
absl::StatusOr<std::vector<Member>> FindMembers(const TreeState& tree);

// What it does now; freezes it meanwhile if it can be frozen.
Diagnosis Diagnose(const TreeState& tree);

}  // namespace internal

class Supervisor::Impl final {
 public:
  using TreeState = internal::TreeState;

  static absl::StatusOr<std::unique_ptr<Impl>> Create(
      const SupervisorOptions& options);
  ~Impl();

  absl::StatusOr<std::shared_ptr<TreeState>> Spawn(const Command& command,
                                                   const TreeOptions& options);
  // Waits for at most `timeout` and does what there is to do.
  absl::Status Serve(absl::Duration timeout);
  void BeginTeardown(TreeState& tree, EndReason reason, int first_signal);
  void PauseTimers(TreeState& tree);
  void ResumeTimers(TreeState& tree);

  bool adopts_orphans() const { return options_.adopt_orphans; }
  // With that: whoever has come of the trees, and is alive.
  absl::StatusOr<std::vector<pid_t>> DescendantsOfTrees() const;

  int fd() const { return loop_.fd(); }
  std::string placement() const;
  Containment containment() const {
    return keeper_ == nullptr ? containment_ : Containment::kCgroup;
  }

 private:
  Impl(const SupervisorOptions& options, kernel::EventLoop loop)
      : options_(options), loop_(std::move(loop)) {}

  absl::Status Place();
  void FindKeeper();
  bool KeeperHasGone(const absl::Status& failure) const;
  absl::StatusOr<std::shared_ptr<TreeState>> TryToSpawn(
      const Command& command, const TreeOptions& options,
      internal::Attempt* attempt);
  absl::Status Adopt();
  absl::Status FillReserve();
  absl::Status StartTree(TreeState& tree, const Command& command,
                         internal::Attempt* attempt);
  absl::Status PlaceTree(TreeState& tree, internal::ComingLeader* leader,
                         internal::Attempt* attempt);
  Containment FirstContainment(const TreeOptions& options);
  absl::Status GoDown(const absl::Status& why, const TreeOptions& options,
                      internal::Attempt* attempt);
  absl::StatusOr<std::unique_ptr<containment::Hold>> MakeHold(TreeState& tree);
  absl::Status StartLeader(TreeState& tree, const Command& command,
                           internal::ComingLeader* leader,
                           internal::Attempt* attempt);
  absl::StatusOr<kernel::Child> BringToLife(const TreeState& tree,
                                            internal::ComingLeader* leader);
  void Abandon(TreeState& tree);

  void OnLeaderEvent(TreeState& tree);
  void OnAlarm(TreeState& tree);
  void OnTimeout(TreeState& tree);
  void StartStep(TreeState& tree, size_t step);
  bool SendStepSignal(TreeState& tree, int signal);
  void StartDrain(TreeState& tree);
  void AskLater(TreeState& tree);
  void NoteLeaks(TreeState& tree);
  std::vector<Member> Describe(TreeState& tree);
  void NoteEndByName(TreeState& tree);
  void OnLeaks(TreeState& tree);
  void StartWait(TreeState& tree);
  void WaitOn(TreeState& tree);
  void EndWait(TreeState& tree);
  absl::Status KeepAll(TreeState& tree);
  absl::Status SetApart(TreeState& tree);
  absl::Status MoveWanted(TreeState& tree, const kernel::Cgroup& kept);
  bool TryFinish(TreeState& tree);
  absl::StatusOr<std::vector<pid_t>> FindOrphans(const TreeState& tree);
  bool OrphansAreGone(TreeState& tree);
  void ReapLeader(TreeState& tree);
  void GiveUp(TreeState& tree);
  void Finish(TreeState& tree);

  absl::Status OpenScope(TreeState& tree, internal::ComingLeader* leader);
  absl::Status StartSystemdClient();
  void DropSystemdClient();
  void OnSystemdEvent();

  absl::Status PrepareForDeath(TreeState& tree);
  absl::Status HandOver(TreeState& tree);
  absl::Status Guard(const TreeState& tree);
  absl::Status StartGuardian(const TreeState* coming);
  absl::Status TryStartGuardian(const TreeState* coming);
  void DropGuardian();
  void NoteGuardian(const absl::Status& state);
  void ReplaceGuardian();
  void RestoreGuardian();
  void TellPhase(TreeState& tree);
  void Unguard(TreeState& tree);
  void NoteGuard(TreeState& tree, const absl::Status& state);
  // With adopt_orphans: is this child no tree's?
  bool IsOurOwn(pid_t pid) const;
  // Is it a child of ours that belongs to no tree?
  bool IsHelper(pid_t pid) const {
    return (guardian_.has_value() && guardian_->pid() == pid) ||
           (systemd_.has_value() && systemd_->pid() == pid);
  }

  void WatchTree(TreeState& tree);
  void SetAlarm(TreeState& tree, absl::Duration moment);
  absl::Status ArmTimer();
  void ReapAdopted();
  absl::StatusOr<bool> ReapChildren();

  // Killed, and reaped when all else that there is to do has been done.
  std::optional<guardian::Guardian> leaving_guardian_;
  SupervisorOptions options_;
  kernel::EventLoop loop_;
  Containment containment_ = Containment::kAuto;
  // Why it is not a cgroup although one would have been better.
  absl::Status no_cgroup_;
  // Of our own cgroup.
  std::shared_ptr<const containment::Placement> placement_;
  // If it may be used: the keeper that was found last.
  bool wants_keeper_ = false;
  std::shared_ptr<const containment::Placement> keeper_;
  std::map<uint64_t, std::shared_ptr<TreeState>> trees_;
  // While there is, or was, a tree that needs one.
  std::optional<guardian::Guardian> guardian_;
  // While there is, or was, a tree in a scope.
  std::optional<systemd::Client> systemd_;
  // The last one, and how many have died in quick succession.
  absl::Duration guardian_started_;
  int guardian_deaths_ = 0;
  std::set<std::pair<absl::Duration, uint64_t>> alarms_;
  uint64_t next_id_ = 1;
  // For the end of a tree, when there may be none to be had: a walk through
  // nested cgroups needs three at a time, and a pidfd.
  std::vector<kernel::UniqueFd> reserve_;
  // With adopt_orphans: the children that this process had before. They are
  // not of any tree.
  std::set<pid_t> foreign_children_;
  const pid_t owner_ = getpid();
};

}  // namespace treekill

#endif  // TREEKILL_SUPERVISOR_IMPL_H_
