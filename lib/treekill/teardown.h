// How a tree is ended, as data.
#ifndef TREEKILL_TEARDOWN_H_
#define TREEKILL_TEARDOWN_H_

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace treekill {

// To whom the signals of the steps go; the words are systemd's KillMode=. The
// SIGKILL that ends every teardown goes to the whole tree in any case.
enum class KillMode {
  // To every member.
  kControlGroup,
  // To the leader; once it has ended, SIGKILL to the others at once.
  kMixed,
  // To the members of the leader's process group.
  kProcessGroup,
  // To the leader; the others get the rest of the grace period.
  kProcess,
};

// "control-group", "mixed", "process-group", "process".
const char* KillModeName(KillMode mode);
std::optional<KillMode> ParseKillMode(const std::string& name);

// "TERM", "SIGTERM", "term", "15", "RTMIN+3"; nullopt for anything else, 0
// included. And the inverse, "TERM"; the number for a signal without a name.
std::optional<int> ParseSignal(const std::string& text);
std::string SignalName(int signal);

// What becomes of a tree when the process that supervises it ends without
// having ended the tree: by SIGKILL, a crash, or exec.
enum class OnSupervisorDeath {
  // It lives on in its leaf, which `treekill gc` then leaves alone, too.
  kLeave,
  // The leader is sent SIGKILL: PR_SET_PDEATHSIG, see ParentDeathSignal. What
  // it has started lives on, until `treekill gc`.
  kKillLeader,
  // A guardian, a process of its own, goes on with the teardown if it has
  // begun, else sends SIGKILL to the whole tree, and removes the leaf.
  kKillTree,
};

// "leave", "kill-leader", "kill-tree".
const char* OnSupervisorDeathName(OnSupervisorDeath what);

// PR_SET_PDEATHSIG of the leader, prctl(2): the kernel sends it SIGKILL when
// the *thread* that has started it ends, be it that the process lives on. So a
// worker thread must outlive the commands it has started with it. The kernel
// forgets it when the command is a setuid program or has capabilities.
enum class ParentDeathSignal {
  // If Spawn() is called by the main thread, which rarely ends before its
  // process (pthread_exit(3) would do that); as a second net with kKillTree.
  // The leader then gets no rest of its grace when the supervisor is killed.
  kFromMainThread,
  kAlways,
  kNever,
};

// One signal, followed by SIGCONT, so that stopped members see it; frozen ones
// are thawed. Then time to react.
struct TeardownStep {
  int signal = SIGTERM;
  // Not negative; infinite waits for as long as it takes. The step ends at
  // once when the *tree* is empty, not when the leader is gone.
  absl::Duration grace = absl::Seconds(5);
};

// Escalation: the steps in turn, then SIGKILL to all that is left.
struct TeardownPolicy {
  KillMode kill_mode = KillMode::kControlGroup;
  // One step of TERM and 5 s by default. Empty: SIGKILL at once.
  std::vector<TeardownStep> steps = std::vector<TeardownStep>(1);
  // How long after SIGKILL members may take to die (disk sleep, a huge address
  // space) before they are reported as survivors. More than 0.
  absl::Duration drain_timeout = absl::Seconds(10);
};

// kInvalidArgument, with the reason, for a policy that cannot be carried out.
absl::Status Validate(const TeardownPolicy& policy);

}  // namespace treekill

#endif  // TREEKILL_TEARDOWN_H_
