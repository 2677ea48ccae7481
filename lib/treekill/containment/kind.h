// The ways to hold a tree, by name.
#ifndef TREEKILL_CONTAINMENT_KIND_H_
#define TREEKILL_CONTAINMENT_KIND_H_

#include <optional>
#include <string>

namespace treekill {

// What holds a tree, weakest first: a stronger one has a greater value.
enum class Containment {
  // Choose the strongest that works here; says nothing about strength.
  kAuto = 0,
  // The leader alone, by its pidfd.
  kProcess = 10,
  // The leader's process group: all that have not left it.
  kProcessGroup = 20,
  // A reaper process above the leader, which every orphan of the tree comes
  // back to (PR_SET_CHILD_SUBREAPER): everything, but setuid programs where the
  // caller may not signal them.
  kSubreaper = 30,
  // A cgroup v2 of its own: everything.
  kCgroup = 50,
  // The same, in a transient scope of systemd's that is its own.
  kScope = 51,
};

// Does `a` hold less firmly than `b`? A scope holds as firmly as a cgroup.
bool IsWeaker(Containment a, Containment b);

// "auto", "process", "process-group", "subreaper", "cgroup", "scope".
const char* ContainmentName(Containment containment);

// The inverse; nullopt for any other text.
std::optional<Containment> ParseContainment(const std::string& name);

}  // namespace treekill

#endif  // TREEKILL_CONTAINMENT_KIND_H_
