// The one interface to what holds a tree. The supervisor drives it; each way
// of holding is one file beside this one.
#ifndef TREEKILL_CONTAINMENT_HOLD_H_
#define TREEKILL_CONTAINMENT_HOLD_H_

#include <sys/epoll.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/containment/kind.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::containment {

// What a round of signals came to.
struct SignalRound {
  bool leader_signalled = false;
  // How many got it, and how many the kernel does not let us signal (EPERM:
  // another uid), which is no error.
  int signalled = 0;
  int refused = 0;
  // The first thing that went wrong; the others were signalled all the same.
  absl::Status error;
};

// Holds one tree. Used by one thread at a time. Nothing here but Freeze()
// blocks for longer than the system calls it is made of.
class Hold {
 public:
  virtual ~Hold() = default;

  virtual Containment kind() const = 0;

  // The leaf's directory; "" without one.
  virtual std::string path() const { return ""; }

  // What the leader is cloned into; -1 for nothing.
  virtual int cgroup_fd() const { return -1; }

  // Must the leader have a process group of its own?
  virtual bool NeedsProcessGroup() const { return false; }

  // Starts the leader, held from its first moment on: as kernel::Clone().
  virtual absl::StatusOr<kernel::Child> Start(const kernel::ChildPlan& plan) {
    return kernel::Clone(plan, cgroup_fd());
  }

  // Tells the hold who the leader is. Before this the tree is empty.
  virtual void SetLeader(pid_t pid, int pidfd) = 0;

  // Ready for EPOLLIN when LeaderHasEnded() is to be asked; -1 where the
  // leader's pidfd is that, and says so itself.
  virtual int leader_fd() const { return -1; }
  virtual bool LeaderHasEnded() { return true; }
  // As kernel::PollChildEnd() and PollChildStop() of the leader's pidfd.
  virtual absl::StatusOr<std::optional<kernel::ChildEnd>> PollLeaderEnd(
      int pidfd, bool reap) {
    return kernel::PollChildEnd(pidfd, reap);
  }
  virtual int PollLeaderStop(int pidfd) { return kernel::PollChildStop(pidfd); }

  // Ready for event_mask() when the tree may have become empty; -1 when that
  // can only be asked from time to time.
  virtual int events_fd() const { return -1; }
  virtual uint32_t event_mask() const { return EPOLLPRI; }
  // Is it of no more use, and ready for ever?
  virtual bool EventsAreOver() const { return false; }

  // A descriptor to which any thread or process may write "1" to kill the
  // tree; -1 without one.
  virtual int kill_fd() const { return -1; }

  // Is no member alive? A leader that is a zombie is not alive.
  virtual absl::StatusOr<bool> IsEmpty() = 0;

  // The pids of the live members. A moment's picture.
  virtual absl::StatusOr<std::vector<pid_t>> Members() = 0;

  // Is, or was until it began to die, the process in the hold?
  virtual bool Contains(pid_t pid) const = 0;

  // Freezes every member and who is born of them. Blocks until they are frozen,
  // but not beyond `until`, a moment of kernel::MonotonicNow(): false.
  // kUnimplemented where the hold cannot.
  virtual absl::StatusOr<bool> Freeze(absl::Duration /*until*/) {
    return absl::UnimplementedError("it is in no cgroup");
  }
  // Ends that, however far it has come.
  virtual absl::Status Thaw() { return absl::OkStatus(); }

  // Sends `signal` to every member, and SIGCONT so that stopped ones see it;
  // with `only_group` not 0, to those of that process group. Members that are
  // born meanwhile are sent it too, as far as that ends.
  virtual SignalRound Signal(int signal, pid_t only_group) = 0;

  // Repeats the last Signal() for those whom it has missed because they were
  // just being born, as far as their parent is dead by now, and without a word
  // of what fails. Not for what a signal handler has started, as far as that
  // can be told: to be called again and again, the first times soon.
  virtual void SignalLatecomers() {}

  // SIGKILL to every member. Returns before they are dead; may be repeated.
  virtual absl::Status Kill() = 0;

  // Are only those left, as far as is known since the last Kill(), whom the
  // kernel does not let us kill?
  virtual bool IsRefused() const { return false; }

  // Removes what the hold has made. kernel::IsBusy() while a member is not
  // quite gone. After OK the hold is of no more use.
  virtual absl::Status Remove() { return absl::OkStatus(); }

  // Leaves what the hold has made, and who is in it, as they are: nothing is
  // removed any more, and Kill() kills nobody.
  virtual void Keep() {}

  // Leaves those that are left to themselves, with nothing of the hold's own
  // running.
  virtual void GiveUp() {}

 protected:
  // Remove() of a hold that has nothing to remove: kernel::IsBusy() while a
  // member is alive, in the words of kernel::ErrnoStatus().
  absl::Status BusyUnlessEmpty(const std::string& call,
                               const std::string& what);
};

// Holds by the leader's pidfd alone.
std::unique_ptr<Hold> HoldProcess();

// Holds by the leader's process group, which must stay unreaped: the zombie
// pins the group's number.
std::unique_ptr<Hold> HoldProcessGroup();

}  // namespace treekill::containment

#endif  // TREEKILL_CONTAINMENT_HOLD_H_
