// One trial of `treekill demo`: a command with one escapee, the end that a
// method makes of the command, and a look at the escapee.
#ifndef TREEKILL_CLI_DEMO_TRIAL_H_
#define TREEKILL_CLI_DEMO_TRIAL_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/demo_matrix.h"
#include "cli/fd.h"

namespace treekill::cli {

// A row of the matrix.
struct Escapee {
  const char* name;
  // Of demo-escapee.
  const char* mode;
  // The trial's end is SIGKILL to the one that has started the command.
  bool kills_starter = false;
  // An ordinary user runs the trial: only root can become one.
  bool as_nobody = false;
  // It needs cgroups that it may write to.
  bool needs_cgroup = false;
};

// A column.
struct Method {
  std::string name;
  // Of `treekill run`; "": no treekill, but PR_SET_PDEATHSIG.
  std::string containment;
};

// What trials share: the same for all of them.
struct Site {
  // A cgroup to move to, and one that belongs to nobody; or why no cgroup can
  // be made.
  std::string elsewhere;
  std::string nobodys;
  absl::Status cgroup_error;
  // This program as a setuid-root one; or why there is none.
  OwnedFd setuid_program;
  absl::Status setuid_error;
  // Why there are no scopes, if that is known beforehand.
  absl::Status scope_error;
};

constexpr uid_t kNobody = 65534;

// The steps in turn: Start(), End(), Watch(), Conclude(). Between them the
// caller waits until awaited() is readable, calls Advance() when it is, and
// goes on when it is -1 or time is over. Nothing here blocks.
class Trial final {
 public:
  Trial(const Escapee& escapee, const Method& method)
      : escapee_(&escapee), method_(&method) {}

  // Awaited: the escapee's word that it is where it wants to be.
  void Start(const Site& site);
  // Ends the command as the method does. Awaited: that this is done.
  void End();
  // Awaited: the end of the escapee.
  void Watch();
  // Notes who is alive.
  void Conclude();

  int awaited() const { return awaited_; }
  void Advance();

  const Method& method() const { return *method_; }
  const Observation& seen() const { return seen_; }
  // The cgroup that the escapee has made for itself; "" for none.
  const std::string& cgroup() const { return cgroup_; }

  // Kills the escapee, and has the one that started the command end it.
  void Clean();
  // Is `pid` that one, and alive?
  bool IsStarter(pid_t pid) const;

 private:
  absl::Status WhatIsMissing(const Site& site) const;
  std::vector<std::string> Argv(const Site& site, int report) const;
  void TakeReport();
  std::string TakeComplaint() const;
  void Fail(const std::string& reason);

  const Escapee* escapee_;
  const Method* method_;
  Observation seen_;
  // Of the escapee's report, and of what its command has to complain about.
  OwnedFd report_;
  OwnedFd errors_;
  // Started the command: `treekill run`, or the plain parent.
  pid_t starter_pid_ = 0;
  OwnedFd starter_;
  pid_t escaped_pid_ = 0;
  OwnedFd escaped_;
  std::string cgroup_;
  int awaited_ = -1;
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DEMO_TRIAL_H_
