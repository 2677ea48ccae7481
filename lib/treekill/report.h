// What became of a tree.
#ifndef TREEKILL_REPORT_H_
#define TREEKILL_REPORT_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "treekill/containment/kind.h"
#include "treekill/diagnosis.h"
#include "treekill/exit_status.h"
#include "treekill/member.h"
#include "treekill/teardown.h"

namespace treekill {

// Why a tree was ended.
enum class EndReason {
  // The leader ended by itself.
  kLeaderExited,
  // Its time was over.
  kTimeout,
  // Tree::Stop().
  kStopped,
  // The same, because the process that had started the caller was gone, or the
  // other end of a descriptor closed.
  kParentDied,
  kLifelineClosed,
  // systemd was told to stop its scope: systemctl stop, or a shutdown.
  kUnitStopped,
  // Tree::Kill(), LiveRun::End() by another process, or the handle was
  // destroyed.
  // A write to Tree::kill_fd() by others looks like a leader that ended by
  // SIGKILL; so does LiveRun::End() without a cgroup, by its signal.
  kKilled,
};

// "exit", "timeout", "stop", "parent-death", "lifeline", "unit-stop",
// "kill".
const char* EndReasonName(EndReason reason);

// The end of a tree. Filled in step by step; complete when Tree::ended().
struct TreeReport {
  std::string name;
  std::vector<std::string> argv;
  Containment containment = Containment::kAuto;
  // Why it is not what Containment::kAuto would have preferred, if so.
  absl::Status containment_error;
  // The transient scope's name; "" without one.
  std::string unit;
  // The leaf's directory while the tree lived; "" without one.
  std::string leaf;

  // What would have become of it, had its supervisor been killed; and why there
  // was no guardian although one was asked for, if so.
  OnSupervisorDeath on_supervisor_death = OnSupervisorDeath::kLeave;
  absl::Status guardian_error;

  // Why an entry is missing in the journal (TreeOptions::journal), if so; the
  // first reason. That there is no journal is none, unless it was asked for.
  absl::Status journal_error;

  pid_t leader = 0;
  ExitStatus status;
  EndReason reason = EndReason::kLeaderExited;
  // The first signal of the teardown; 0 when there was none but SIGKILL.
  int first_signal = 0;
  // True when the teardown had to use SIGKILL on members that were alive.
  bool killed = false;

  // Members alive when the end began, if the leader was; not with
  // EndReason::kKilled. If TreeOptions::describe_members.
  std::vector<Member> members;

  // What the tree did when its time was over: TreeOptions::diagnose_timeout.
  // There before the first signal. Not in ReportToJson().
  std::optional<Diagnosis> diagnosis;

  // Members alive after the leader's exit, and after what was waited for them;
  // who they were, if TreeOptions::describe_members, but for those that have
  // ended before they could be looked at.
  int leaked_count = 0;
  std::vector<Member> leaked;
  // Who was kept (LeakPolicy), and is none of `leaked`; and in which leaf, if
  // anybody. Whoever had moved out of his leaf is where his `cgroup` says.
  std::vector<Member> kept;
  std::string kept_leaf;
  // Processes that had left the leaf and came back as orphans, and were killed
  // (SupervisorOptions::adopt_orphans).
  int strays_killed = 0;

  // Nothing of the tree is alive but `kept`, as the kernel says. False: see
  // `survivors`, or `errors` when that could not be found out.
  bool drained = false;
  std::vector<Member> survivors;

  // What went wrong after the start. The teardown went on all the same.
  std::vector<absl::Status> errors;

  absl::Time started;
  // From the start to the leader's end, and from there or from the beginning
  // of the teardown, whichever was first, to the end of the tree.
  absl::Duration run_time;
  absl::Duration teardown_time;
  // And what was waited between the two: OnLeak::kWait.
  absl::Duration wait_time;
  // The leader's, and that of the children it waited for.
  absl::Duration user_time;
  absl::Duration system_time;
  int64_t max_rss_kib = 0;
};

// One JSON object in one line, without a newline. Its fields are a contract,
// version `schema_version` 1, and written down in README.md. Bytes that are
// not UTF-8 are replaced by U+FFFD. `exit_status` is that of the program which
// reports.
std::string ReportToJson(const TreeReport& report, int exit_status);

// The same for a command that could not be started: `error` says why.
std::string FailureToJson(const absl::Status& error, int exit_status);

}  // namespace treekill

#endif  // TREEKILL_REPORT_H_
