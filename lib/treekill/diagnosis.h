// What the processes of a tree were doing when its time was over.
#ifndef TREEKILL_DIAGNOSIS_H_
#define TREEKILL_DIAGNOSIS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "treekill/member.h"

namespace treekill {

// A pipe or a socket that is open in a process, as /proc/PID/fd shows it; see
// proc(5).
struct OpenStream {
  int fd = -1;
  // "pipe:[123]" or "socket:[123]": whoever shows the same has the same open.
  // The two ends of a pipe share it, those of a socket pair do not.
  std::string target;
  // The end of the pipe; both for a socket.
  bool reads = false;
  bool writes = false;
};

// A process that has a stream open, by whatever descriptor.
struct StreamHolder {
  pid_t pid = 0;
  bool reads = false;
  bool writes = false;
};

struct DiagnosedMember {
  // `state` and `wait_channel` are of before the tree was frozen, but for those
  // who were born since, or whom there was no time for: of them it is seen only
  // that they are frozen, in "do_freezer_trap".
  Member member;
  // Of the same moment: the functions of the kernel that it sleeps in,
  // innermost first, a line each, as in /proc/PID/stack. "" when it was
  // running, or may not be read: that takes CAP_SYS_ADMIN.
  std::string kernel_stack;
  // How many of its ancestors, in one line, are members.
  int depth = 0;
  // By descriptor; and why they could not be read, if so: another user's
  // process, or there was no time.
  std::vector<OpenStream> streams;
  absl::Status streams_error;
};

struct Diagnosis {
  // Since the tree's start.
  absl::Duration run_time;
  // The list of the members, their place in the tree and their streams are of
  // one moment: everybody was frozen. Else `freeze_error` says why not.
  bool frozen = false;
  absl::Status freeze_error;

  // In the order of the process tree: each is followed by what descends from
  // it, oldest first. Where time ran out, not all of `alive`.
  std::vector<DiagnosedMember> members;
  int alive = 0;
  // Why there are none, if so.
  absl::Status members_error;

  // By OpenStream::target, of each stream that more than one member has open:
  // who they are.
  std::map<std::string, std::vector<StreamHolder>> shared_streams;
};

}  // namespace treekill

#endif  // TREEKILL_DIAGNOSIS_H_
