// The trees that are alive on this machine, whoever supervises them: found by
// the names of their cgroups and reapers, without a registry.
#ifndef TREEKILL_LIVE_RUN_H_
#define TREEKILL_LIVE_RUN_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/containment/kind.h"
#include "treekill/end_options.h"
#include "treekill/member.h"

namespace treekill {

namespace containment {
class Hold;
}  // namespace containment

// The first of these that is so.
enum class RunState {
  // LiveRun::Freeze(), or whoever has frozen its cgroup or one above.
  kFrozen,
  // It lives on when its supervisor dies: OnSupervisorDeath::kLeave.
  kKept,
  // Its supervisor is gone. A guardian is about to end it, or CollectGarbage()
  // would.
  kOrphaned,
  kRunning,
};

// "frozen", "kept", "orphaned", "running".
const char* RunStateName(RunState state);

// A tree as it was at one moment.
struct LiveRunInfo {
  // TreeOptions::name; may be empty, and several may have the same.
  std::string name;
  // No other has it, on this machine and until it is booted again: the name of
  // the leaf's directory, or as that would be.
  std::string id;
  // Who is to end it. 0: cannot be seen from here (another PID namespace). When
  // it is gone, the number that it had.
  pid_t supervisor = 0;
  bool supervisor_alive = false;
  // As Member::name; "" when it is gone or cannot be seen.
  std::string supervisor_name;
  // kCgroup, kScope if the leaf is in a scope made for the tree, as far as that
  // can be told, or kSubreaper.
  Containment containment = Containment::kCgroup;
  // Its directory, "" without one, and the service or scope of systemd's that
  // it is in, if any.
  std::string leaf;
  std::string unit;
  // The user id of the leaf's, or the reaper's, owner.
  uid_t uid = 0;
  absl::Duration age;
  RunState state = RunState::kRunning;
  // 0 when it has ended, or cannot be told.
  pid_t leader = 0;
  // Of the leader, else of the oldest member: as Member has them.
  std::string command_name;
  std::vector<std::string> argv;
  bool argv_truncated = false;
  // Who is alive, nested cgroups included. Those of other PID namespaces than
  // ours and those below it are not seen.
  std::vector<pid_t> pids;
  // Of all that it has run so far, as far as that can be told. nullopt when it
  // cannot.
  std::optional<absl::Duration> cpu_time;
  // Bytes, of its cgroup; nullopt where the controller is not on.
  std::optional<uint64_t> memory;
};

struct RunEnd {
  // Nobody of it is alive. Else:
  bool drained = false;
  std::vector<Member> survivors;
  absl::Status error;
  // SIGKILL was sent.
  bool killed = false;
};

// A tree that was found. It may end at any time; the handle is never another's.
//
// Another user's is kPermissionDenied to all that changes it.
//
// Threads: one at a time.
class LiveRun final {
 public:
  LiveRun(LiveRun&&) noexcept;
  LiveRun& operator=(LiveRun&&) noexcept;
  ~LiveRun();

  // As it was when it was found.
  const LiveRunInfo& info() const;

  // Who is alive, oldest first. Those who have moved out of its cgroup are
  // among them if their parents are. What cannot be told from outside is
  // missing: who holds the leader's output. A moment's picture; empty when it
  // has ended.
  absl::StatusOr<std::vector<Member>> Members() const;

  // Stops all who are in its cgroup until Thaw(), also those who are born
  // meanwhile: see cgroup.freeze, Linux 5.2. Its end is not held up by that.
  // Blocks until everybody stands still or goes on; kDeadlineExceeded when that
  // takes longer than `patience`: a member is in uninterruptible sleep, or a
  // cgroup above is frozen. kNotFound: it has ended. kFailedPrecondition: it
  // has no cgroup, or holds the caller.
  absl::Status Freeze(absl::Duration patience = absl::Seconds(10));
  absl::Status Thaw(absl::Duration patience = absl::Seconds(10));

  // Blocks until nobody of it is alive; false when `timeout` is over before
  // that. Its supervisor may have something to do yet. kFailedPrecondition: it
  // holds the caller.
  absl::StatusOr<bool> Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Would End() refuse? Touches nobody.
  absl::Status MayEnd() const;

  // Ends all of it: a signal, a grace period, then SIGKILL until nobody is
  // alive. Blocks for as long as that takes. The leaf is its supervisor's to
  // remove, and is removed here if that is gone or has kept the run. kNotFound:
  // it has ended.
  // kFailedPrecondition: it holds the caller.
  absl::StatusOr<RunEnd> End(const EndOptions& options = EndOptions());

  // Ends several at the same time; says of each, in their order, what End()
  // would.
  static std::vector<absl::StatusOr<RunEnd>> EndAll(
      const std::vector<LiveRun*>& runs, const EndOptions& options);

  // Moves this process, all its threads, into it: it is a member from then on,
  // and ended with it. kNotFound: it has ended. kFailedPrecondition: it has no
  // cgroup.
  absl::Status Join();

  class Impl;
  explicit LiveRun(std::unique_ptr<Impl> impl);

 private:
  absl::StatusOr<std::unique_ptr<containment::Hold>> HoldToEnd() const;
  // Sends the first signal, if that is another than SIGKILL: did anybody get
  // it?
  absl::StatusOr<std::unique_ptr<containment::Hold>> BeginEnd(
      const EndOptions& options, bool* signalled);

  std::unique_ptr<Impl> impl_;
};

// All that are to be seen from here, oldest first, also other users'. Looks at
// every cgroup and once at every process. The error says why it could not be
// looked: no descriptor is left, or /proc is another PID namespace's.
absl::StatusOr<std::vector<LiveRun>> ListRuns();

// Those that are called so: by name, of which there may be several; by id; by
// the leaf's path; or, when there is none of that name, by the pid of a
// supervisor that is alive. A name means the caller's own runs, if he has any
// of that name, and else everybody's. kNotFound when there are none.
absl::StatusOr<std::vector<LiveRun>> FindRuns(const std::string& target);

// What is told of one run.
struct RunListing {
  LiveRunInfo info;
  // nullopt: were not asked for.
  std::optional<std::vector<Member>> members = std::nullopt;
};

// One JSON object in one line, without a newline; its fields are a contract,
// version `schema_version` 1, and written down in README.md.
std::string RunsToJson(const std::vector<RunListing>& runs);

}  // namespace treekill

#endif  // TREEKILL_LIVE_RUN_H_
