// Starts commands, each in a tree of its own, and sees every tree to its end.
//
//   absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
//   absl::StatusOr<Tree> tree = supervisor->Spawn(
//       Command{.argv = {"make", "check"}},
//       TreeOptions{.timeout = absl::Minutes(10)});
//   absl::StatusOr<bool> ended = tree->Wait();
//   // tree->report().status: how make ended. Nothing of it is alive.
#ifndef TREEKILL_SUPERVISOR_H_
#define TREEKILL_SUPERVISOR_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/command.h"
#include "treekill/containment/kind.h"
#include "treekill/tree.h"

namespace treekill {

struct SupervisorOptions {
  // kAuto: a cgroup below ours, or where systemd manages that and has not
  // delegated it, below the keeper's (keeper.h), else in a scope. When systemd
  // cannot be asked, ours all the same if it is writable; and where no cgroup
  // can be had, by a subreaper. Found out by trying, for each tree:
  // Tree::containment() and TreeReport::containment say what holds it,
  // TreeReport::containment_error why nothing better does.
  Containment containment = Containment::kAuto;

  // Create(), or Spawn(), fails unless the trees are held at least as firmly;
  // with kScope, by a scope. The command has not run then. kAuto asks nothing.
  Containment require = Containment::kAuto;

  // The guardian of the trees with OnSupervisorDeath::kKillTree: one process a
  // Supervisor, started by the first Spawn() that needs it, replaced when it
  // dies, and ended by the destructor. It is the program treekill-guardian, so
  // that a large or multi-threaded host is not forked. Its path; "": what
  // TREEKILL_GUARDIAN in the environment names, else where it was installed or
  // built. It is the reaper's program as well, which each tree that is held by
  // a subreaper has instead of the guardian: two processes that start the
  // command, adopt its orphans, and do each other's work if one is killed. This
  // process does not become a subreaper by that.
  std::string guardian_program = {};
  // Parks it for some milliseconds before it executes that program. Until then
  // it is a process that shares the memory of this one and touches none of it,
  // which starts and ends several times faster: short commands never pay for
  // more. Whoever kills a process for its memory's sake then kills both: the
  // OOM killer, and a core dump before Linux 5.16. It ends whenever there is no
  // tree left. For a program that is its own guardian (guardian_entry.h), as it
  // is not asked whether it is one.
  bool park_guardian = false;

  // Makes this *process* the reaper of every orphan below it
  // (PR_SET_CHILD_SUBREAPER, prctl(2)), so that a process which moved itself
  // out of its leaf is found when its tree ends, and killed; and reaps every
  // dead child of this process. For a command line tool that holds one tree at
  // a time (a second Spawn() fails) and starts no child after Create(); those
  // that it has before are left alive. Never for a server. Call Dispatch() on
  // SIGCHLD, so that orphans are reaped in time.
  bool adopt_orphans = false;
};

// Owns the place where the leaves are made, one epoll descriptor, and one child
// process: the guardian, which outlives this process when that is killed.
// Another is there while members are described (TreeOptions::describe_members),
// since who reads a process's command line can be held up by that process.
//
// It keeps no state in the process, but with `adopt_orphans`: no signal
// handler, no thread, no waitpid(-1). SIGCHLD should not be ignored in the
// host, and nobody else should wait for any child: the trees are ended all the
// same, but their exit status may be unknown.
//
// Threads: use a Supervisor and its trees from one thread at a time; different
// Supervisors are independent. After fork(2) the child may only destroy its
// copy, which then just closes descriptors.
class Supervisor final {
 public:
  // Finds the place for the leaves. The error says what is missing, and what to
  // do about it. That a leaf can be made there is for Spawn() to find out, and
  // for ProbeHost().
  static absl::StatusOr<Supervisor> Create(
      const SupervisorOptions& options = SupervisorOptions());

  Supervisor(Supervisor&&) noexcept;
  Supervisor& operator=(Supervisor&&) noexcept;
  // Kills every tree that has not ended and waits for its end: blocks, for as
  // long as their drain timeouts at most. Handles that are left stay valid, for
  // the report.
  ~Supervisor();

  // Starts `command`. Returns when it has been executed: the calling thread,
  // and no other, waits for that. On failure nothing is left running but the
  // guardian, and nothing is left behind; CallOf() the status tells "execve"
  // (ErrnoOf() ENOENT: not found), "chdir", "clone3", "mkdir", ...;
  // kInvalidArgument means that `command` or `options` make no sense.
  absl::StatusOr<Tree> Spawn(const Command& command,
                             const TreeOptions& options = TreeOptions());

  // Readable when Dispatch() has something to do: for poll(2) and any event
  // loop. Timers are in it. Owned by the Supervisor.
  int fd() const;

  // Does what there is to do for all trees, and returns. Does not block, but
  // for as long as it takes to list and signal the members of trees that end.
  absl::Status Dispatch();

  // What is to hold the trees that Spawn() makes; see TreeReport for each.
  Containment containment() const;
  // One line about where leaves are made and why there, for people.
  std::string placement() const;

  // Internal.
  class Impl;

 private:
  explicit Supervisor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace treekill

#endif  // TREEKILL_SUPERVISOR_H_
