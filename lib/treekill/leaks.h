// What becomes of the processes that outlive the leader.
#ifndef TREEKILL_LEAKS_H_
#define TREEKILL_LEAKS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "treekill/member.h"

namespace treekill {

// Of a tree whose leader has ended by itself. At a timeout, Tree::Stop() and
// every other end all of them are killed in any case.
enum class OnLeak {
  // The teardown begins at once.
  kKill,
  // It begins when LeakPolicy::wait is over. Until then the tree goes on, its
  // timeout included.
  kWait,
  // They live on in the leaf, with nobody above them; who had left it is
  // brought
  // back. It is marked: gc leaves it alone, and whoever finds it by its name
  // can
  // end it. Takes Linux 5.7: before, they are killed, and why is an error.
  kKeep,
};

struct LeakPolicy {
  OnLeak on_leak = OnLeak::kKill;
  // More than 0.
  absl::Duration wait = absl::InfiniteDuration();
  // Daemons that are wanted, such as "ssh-agent" or "*cache*": shell patterns,
  // fnmatch(3), for a process's name or the file name that its arguments begin
  // with. They are kept whatever on_leak says, and so is whoever descends from
  // them, from parent to living parent; in a leaf of their own if others are
  // not. A program can give itself any name.
  std::vector<std::string> keep = {};
};

// Is somebody to be kept? That takes a cgroup.
bool Keeps(const LeakPolicy& policy);

// Does the pattern mean this process?
bool MatchesPattern(const Member& member, const std::string& pattern);

// kInvalidArgument, with the reason, for a policy that cannot be carried out.
absl::Status Validate(const LeakPolicy& policy);

}  // namespace treekill

#endif  // TREEKILL_LEAKS_H_
