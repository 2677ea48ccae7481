// A running command and everything that it has started.
#ifndef TREEKILL_TREE_H_
#define TREEKILL_TREE_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/leaks.h"
#include "treekill/report.h"
#include "treekill/scope.h"
#include "treekill/teardown.h"

namespace treekill {

class Supervisor;
namespace internal {
struct TreeState;
}  // namespace internal

// How a tree is held and ended.
struct TreeOptions {
  // Part of the leaf's name, for people: letters, digits and ":_.@+-", at most
  // 128, not beginning with '.' or '-'. Need not be unique.
  std::string name = {};

  // Of the transient scope, with Containment::kScope.
  ScopeOptions scope = ScopeOptions();

  // Ends the tree that long after its start. More than 0.
  absl::Duration timeout = absl::InfiniteDuration();
  // Takes the place of the first step's signal at a timeout; 0 does not.
  // SIGKILL: no steps.
  int timeout_signal = 0;
  // At a timeout, comes before the steps of `teardown`, and goes to every
  // member whatever the KillMode: SIGQUIT or SIGABRT make many programs write
  // down what they are doing.
  std::optional<TeardownStep> timeout_first_step = std::nullopt;
  // Fills TreeReport::diagnosis at a timeout, before any signal is sent. That
  // takes some milliseconds, and Dispatch() or Wait() at most a second; the
  // clocks of `teardown` start after it. Reading the command line of a process
  // whose memory is locked by a page fault that hangs can take longer, as it
  // does for ps(1).
  bool diagnose_timeout = false;

  TeardownPolicy teardown = TeardownPolicy();

  // Who is kept lives in a cgroup, else Spawn() fails: kFailedPrecondition.
  LeakPolicy leaks = LeakPolicy();

  // What is to become of the tree when this process is killed. In effect, see
  // TreeReport::on_supervisor_death; kKillTree needs a cgroup or a subreaper,
  // and is less without.
  OnSupervisorDeath on_supervisor_death = OnSupervisorDeath::kKillTree;
  // Without, Spawn() fails when no guardian can be had. With, it goes on with
  // less: TreeReport::on_supervisor_death and guardian_error say so.
  bool guardian_optional = false;
  // Of no effect with kLeave; kKillLeader means kAlways.
  ParentDeathSignal parent_death_signal = ParentDeathSignal::kFromMainThread;

  // Spawn() gives up, with kCancelled, when this descriptor is readable while
  // it waits for systemd. The caller's; -1 for none.
  int cancel_fd = -1;

  // Gives the leader a process group of its own. Without, it stays in the
  // caller's and so can be in the foreground of the caller's terminal.
  bool new_process_group = true;

  // Writes the start, leaks and the end to systemd's journal: see journal.h.
  // nullopt: if the tree is in a scope, and there is a journal. With true,
  // Spawn() fails with kNotFound when there is none, and starts nothing. Each
  // entry takes a moment only, but 100 ms when the journal does not read; one
  // that could not be written changes nothing else (TreeReport::journal_error).
  std::optional<bool> journal = std::nullopt;

  // Fills TreeReport::leaked and members: some reads of /proc for each process,
  // 0.1 ms. The journal does so with `leaked`.
  bool describe_members = true;
};

// kInvalidArgument, with the reason, for options that cannot be met.
absl::Status Validate(const TreeOptions& options);

// The handle of a tree. Movable; the tree itself belongs to its Supervisor and
// goes on only while that is served (Supervisor::Dispatch(), Wait()).
//
// The destructor kills the tree if it has not ended, and never blocks: the
// Supervisor drains it and removes its leaf.
//
// Threads: use a Tree from the thread that uses its Supervisor; Kill() and the
// descriptors may be used from any. After fork(2) the child may only destroy
// its copy, which then just closes descriptors.
class Tree final {
 public:
  // An empty handle: every call below but assignment is invalid.
  Tree() = default;
  Tree(Tree&&) noexcept;
  Tree& operator=(Tree&&) noexcept;
  ~Tree();

  bool valid() const { return state_ != nullptr; }

  // The leader's pid. It is free for others once the leader has ended and
  // nothing else is alive.
  pid_t leader() const;
  // Readable when the leader has ended; see pidfd_open(2). Owned by the tree,
  // and open while this handle is.
  int leader_pidfd() const;

  // Writing "1" to it kills the whole tree, from any thread or process, in a
  // signal handler, and when privileges have been dropped; see cgroup.kill in
  // the kernel's cgroup-v2.rst. With a subreaper it is the reaper that reads
  // it. -1 where the containment has none, and in a cgroup before Linux 5.14.
  // It kills those as well who are kept (OnLeak::kKeep).
  // Owned by the tree, and open while this handle is.
  int kill_fd() const;

  // What holds it.
  Containment containment() const;
  // The leaf's directory; "" without one.
  std::string leaf() const;

  // Begins the teardown as TreeOptions::teardown says it, if it has not begun;
  // with `first_signal` in place of the first step's. SIGKILL skips the steps,
  // those under way included. `reason` is for the report. Does not block.
  void Stop(int first_signal = 0, EndReason reason = EndReason::kStopped);

  // SIGKILL to the whole tree, now. Does not block. Any thread. It is sent
  // once; Stop(SIGKILL) goes on until all are dead or the drain timeout is
  // over.
  absl::Status Kill();

  // Sends `signal` to the leader, or to the leader's process group where it
  // leads one. A leader that has ended is no error.
  absl::Status SignalLeader(int signal);
  absl::Status SignalLeaderGroup(int signal);

  // The signal by which the leader has been stopped since this was last asked,
  // such as SIGTSTP; 0 when it has not.
  int TakeLeaderStop();

  // Who is alive now. A moment's picture.
  absl::StatusOr<std::vector<Member>> Members() const;

  // Stops the clock of the timeout and the grace periods, and lets it go on:
  // for the time that a terminal's Ctrl-Z has stopped the tree.
  void PauseTimers();
  void ResumeTimers();

  // Serves the Supervisor until this tree has ended: blocks. Returns true when
  // it has, false when `timeout` is over. Other trees are served as well.
  absl::StatusOr<bool> Wait(absl::Duration timeout = absl::InfiniteDuration());

  // The leader has: the others may be waited for (OnLeak::kWait).
  bool leader_ended() const;
  // The teardown has begun.
  bool ending() const;
  // Nothing of it is alive any more, or the drain timeout is over.
  bool ended() const;

  // Complete when ended().
  const TreeReport& report() const;

 private:
  friend class Supervisor;
  explicit Tree(std::shared_ptr<internal::TreeState> state)
      : state_(std::move(state)) {}
  void Release();

  std::shared_ptr<internal::TreeState> state_;
};

}  // namespace treekill

#endif  // TREEKILL_TREE_H_
