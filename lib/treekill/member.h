// A process of a tree: who it is, what would reach it, and how it got away.
#ifndef TREEKILL_MEMBER_H_
#define TREEKILL_MEMBER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace treekill {

// How a process left the reach of what its parent's parents do to end it.
enum class Escape {
  // Another session, or process group, than the leader's: setsid(2),
  // setpgid(2).
  kNewSession,
  kNewProcessGroup,
  // Its parent has ended; an adopter, the first above that wants to or init,
  // has it now.
  kReparented,
  // It has moved out of the tree's cgroup.
  kMigrated,
  // A user's other than the tree's: a setuid program.
  kOtherUid,
  // SIGTERM is ignored.
  kIgnoresTerm,
  // The pipe or socket that is the leader's standard output, or error output,
  // is open in it: whoever reads that waits for it.
  kHoldsStdout,
  kHoldsStderr,
};

// "new-session", "new-process-group", "reparented", "migrated", "other-uid",
// "ignores-term", "holds-stdout", "holds-stderr".
const char* EscapeName(Escape escape);

// Which methods would hit a process with SIGKILL, as things are now. Each is
// the method alone: what holds a tree may be more than one of them.
struct Reach {
  // kill(2) of the leader's pid.
  bool process = false;
  // kill(2) of the leader's process group, or of that which the leader shares
  // with its supervisor.
  bool process_group = false;
  // PR_SET_PDEATHSIG of the leader.
  bool parent_death_signal = false;
  // A subreaper above the leader. Where there is none, one that there might
  // have been.
  bool subreaper = false;
  // cgroup.kill of the tree's cgroup.
  bool cgroup = false;
};

// A process as /proc showed it at one moment; see proc(5). All of it is of one
// process, also when its pid is another's by now.
struct Member {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t process_group = 0;
  pid_t session = 0;
  // Clock ticks since boot: with the pid, one process for ever.
  uint64_t start_time = 0;
  // How long it has been running.
  absl::Duration age = absl::ZeroDuration();
  // At most 15 bytes, any of them but NUL: not safe to print as it is.
  std::string name = {};
  // Its arguments, any bytes but NUL, as it shows them: a program may overwrite
  // them. Empty when it has none, or the kernel gave none, or not in time: a
  // process can hold up who reads them. Of more than
  // kMaxArgvBytes the rest is left out.
  static constexpr size_t kMaxArgvBytes = 16384;
  std::vector<std::string> argv = {};
  bool argv_truncated = false;
  // The effective user id.
  uid_t uid = 0;
  // R, S, D, T, ...
  char state = '?';
  // The kernel function it sleeps in, where that can be read.
  std::string wait_channel = {};
  // The cgroup v2 path, as in /proc/PID/cgroup; "" where there is none.
  std::string cgroup = {};

  // Of a member of a tree; nothing is known of other processes.
  Reach reach = Reach();
  std::vector<Escape> escapes = {};
};

// Where a process stands when they are listed as a process tree.
struct TreePlace {
  // In the list that was given.
  size_t index = 0;
  // How many of its ancestors, in one line, are in that list.
  int depth = 0;
};

// The order in which each of `members`, which are oldest first, is followed by
// what descends from it, oldest first.
std::vector<TreePlace> InTreeOrder(const std::vector<Member>& members);

}  // namespace treekill

#endif  // TREEKILL_MEMBER_H_
