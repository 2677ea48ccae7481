// Ends and removes what dead supervisors have left: trees whose guardian was
// killed together with their supervisor.
#ifndef TREEKILL_GC_H_
#define TREEKILL_GC_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/report.h"

namespace treekill {

struct GarbageOptions {
  // A cgroup v2 directory: only what is below it. "": the whole hierarchy, as
  // far as it is mounted here.
  std::string below = {};
  // Looks, and changes nothing.
  bool dry_run = false;
  // How long after SIGKILL a member may take to die.
  absl::Duration drain_timeout = absl::Seconds(10);
};

// A leaf whose supervisor is gone.
struct Garbage {
  // Its directory; of TreeOptions::name; the supervisor's pid.
  std::string leaf;
  std::string name;
  pid_t supervisor = 0;
  // Who was alive in it.
  std::vector<Member> members;
  // Nobody is alive, and the leaf is gone.
  bool removed = false;
  // Else, and not in a dry run: why not, and who is still alive.
  absl::Status error;
  std::vector<Member> survivors;
};

// Leaves are known by their names, which say who has made them and when: a leaf
// is garbage when that process is dead, also if its pid is another's by now.
// Looks at no other cgroup than those, and leaves alone what is kept
// (OnSupervisorDeath::kLeave, LeakPolicy) as long as somebody is alive in it,
// what a guardian is about to end, what belongs to
// a PID namespace that cannot be seen from here, and what is not ours to kill
// (another user's).
//
// Each gets SIGKILL at once. Blocks until they are drained. The error says why
// it could not be looked; what went wrong with one leaf is in its Garbage.
absl::StatusOr<std::vector<Garbage>> CollectGarbage(
    const GarbageOptions& options = GarbageOptions());

// One JSON object in one line, without a newline; its fields are a contract,
// version `schema_version` 1, and written down in README.md.
std::string GarbageToJson(const std::vector<Garbage>& garbage, bool dry_run);

}  // namespace treekill

#endif  // TREEKILL_GC_H_
