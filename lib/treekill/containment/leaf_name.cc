#include "treekill/containment/leaf_name.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::containment {
namespace {

constexpr char kPrefix[] = "treekill";
constexpr size_t kTimeDigits = 16;
constexpr char kOwnerAttribute[] = "user.treekill.owner";
constexpr char kKeepAttribute[] = "user.treekill.keep";
constexpr char kEndAttribute[] = "user.treekill.end";
constexpr char kLeaderAttribute[] = "user.treekill.leader";

// "PID-TIME[-NAMESPACE]".
std::string FormatOwner(const LeafOwner& owner) {
  uint64_t moment = absl::ToInt64Nanoseconds(owner.moment);
  std::string text =
      absl::StrCat(owner.pid, "-", absl::Hex(moment, absl::kZeroPad16));
  if (owner.pid_namespace != kernel::kInitialPidNamespace) {
    absl::StrAppend(&text, "-", owner.pid_namespace);
  }
  return text;
}

bool IsTime(absl::string_view word) {
  return word.size() == kTimeDigits &&
         word.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

template <typename Number>
bool ParseNumber(absl::string_view word, Number* number) {
  return !word.empty() &&
         word.find_first_not_of("0123456789") == absl::string_view::npos &&
         absl::SimpleAtoi(word, number);
}

// `now`, or a nanosecond after the last moment that this process was given:
// threads read the same clock.
int64_t NextMoment(int64_t now) {
  static std::atomic<int64_t> last = 0;
  int64_t before = last.load();
  int64_t next = 0;
  do {
    next = std::max(now, before + 1);
  } while (!last.compare_exchange_weak(before, next));
  return next;
}

// Takes the owner's words off the end of `words`.
std::optional<LeafOwner> TakeOwner(std::vector<absl::string_view>* words) {
  LeafOwner owner;
  owner.pid_namespace = kernel::kInitialPidNamespace;
  // A namespace is a number of ten digits, so no time either way.
  if (words->size() >= 3 && !IsTime(words->back())) {
    if (!ParseNumber(words->back(), &owner.pid_namespace)) return std::nullopt;
    words->pop_back();
  }
  if (words->size() < 2 || !IsTime(words->back())) return std::nullopt;
  int64_t moment = 0;
  if (!absl::SimpleHexAtoi(words->back(), &moment)) return std::nullopt;
  owner.moment = absl::Nanoseconds(moment);
  words->pop_back();
  if (!ParseNumber(words->back(), &owner.pid) || owner.pid <= 0) {
    return std::nullopt;
  }
  words->pop_back();
  return owner;
}

// The process that is `owner.pid` in the owner's PID namespace; 0 for none.
// nullopt when that cannot be seen from here.
absl::StatusOr<std::optional<pid_t>> FindPid(const LeafOwner& owner) {
  uint64_t own = kernel::NamespaceOf(0, "pid");
  if (own == 0 || owner.pid_namespace == 0) return std::nullopt;
  if (own == owner.pid_namespace) {
    absl::Status seen = kernel::CheckProc();
    if (!seen.ok()) return seen;
    return owner.pid;
  }
  // Only from the first namespace are all the others seen.
  if (own != kernel::kInitialPidNamespace) return std::nullopt;
  absl::StatusOr<std::vector<pid_t>> all = kernel::ListProcesses();
  if (!all.ok()) return all.status();
  for (pid_t pid : *all) {
    // Which namespace a process is in, not everybody may know; that it is in
    // ours, or another in its own, is seen by its pids.
    absl::StatusOr<std::vector<pid_t>> pids = kernel::NamespacePids(pid);
    if (!pids.ok()) return pids.status();
    if (pids->size() < 2 || pids->back() != owner.pid) continue;
    uint64_t its = kernel::NamespaceOf(pid, "pid");
    if (its == owner.pid_namespace) return pid;
    if (its != 0) continue;
    absl::StatusOr<std::optional<kernel::ProcessStat>> stat =
        kernel::FindProcess(pid);
    if (!stat.ok()) return stat.status();
    if (stat->has_value() && !(*stat)->IsDead()) return std::nullopt;
  }
  return 0;
}

OwnerSight Seen(OwnerState state, pid_t pid) {
  return {.kept = false, .state = state, .pid = pid};
}

// By the leaf's marks, else by its name.
struct MarkedOwner {
  bool kept = false;
  LeafOwner owner;
};

absl::StatusOr<MarkedOwner> OwnerOf(const kernel::Cgroup& leaf,
                                    const LeafOwner& named) {
  absl::StatusOr<std::optional<std::string>> keep =
      leaf.Attribute(kKeepAttribute);
  if (!keep.ok()) return keep.status();
  MarkedOwner marked{.kept = keep->has_value(), .owner = named};
  absl::StatusOr<std::optional<std::string>> heir =
      leaf.Attribute(kOwnerAttribute);
  if (!heir.ok()) return heir.status();
  if (heir->has_value()) {
    std::vector<absl::string_view> words = absl::StrSplit(**heir, '-');
    std::optional<LeafOwner> parsed = TakeOwner(&words);
    if (parsed.has_value() && words.empty()) marked.owner = *parsed;
  }
  return marked;
}

}  // namespace

bool IsOfOurNumbers(const LeafOwner& owner) {
  uint64_t own = kernel::NamespaceOf(0, "pid");
  return own != 0 && own == owner.pid_namespace;
}

LeafOwner ThisProcess() {
  return {getpid(), kernel::BootTimeNow(), kernel::NamespaceOf(0, "pid")};
}

std::string NewLeafName(const std::string& name) {
  LeafOwner owner = ThisProcess();
  owner.moment =
      absl::Nanoseconds(NextMoment(absl::ToInt64Nanoseconds(owner.moment)));
  return FormatLeafName({name, owner});
}

std::string FormatLeafName(const LeafName& leaf) {
  return absl::StrCat(kPrefix, "-", leaf.name, leaf.name.empty() ? "" : "-",
                      FormatOwner(leaf.owner));
}

std::optional<LeafName> ParseLeafName(const std::string& text) {
  std::vector<absl::string_view> words = absl::StrSplit(text, '-');
  if (words[0] != kPrefix) return std::nullopt;
  words.erase(words.begin());
  std::optional<LeafOwner> owner = TakeOwner(&words);
  if (!owner.has_value()) return std::nullopt;
  return LeafName{absl::StrJoin(words, "-"), *owner};
}

bool IsInLeaf(const std::string& cgroup, const std::string& leaf_name) {
  return absl::StrContains(absl::StrCat(cgroup, "/"),
                           absl::StrCat("/", leaf_name, "/"));
}

absl::Status SetOwner(const kernel::Cgroup& leaf, const LeafOwner& owner) {
  return leaf.SetAttribute(kOwnerAttribute, FormatOwner(owner));
}

absl::Status SetKept(const kernel::Cgroup& leaf) {
  return leaf.SetAttribute(kKeepAttribute, "1");
}

absl::Status SetBeingEnded(const kernel::Cgroup& leaf) {
  return leaf.SetAttribute(kEndAttribute, "1");
}

bool IsBeingEnded(const kernel::Cgroup& leaf) {
  absl::StatusOr<std::optional<std::string>> end =
      leaf.Attribute(kEndAttribute);
  return end.ok() && end->has_value();
}

std::string FormatLeader(const LeaderMark& leader) {
  return absl::StrCat(leader.pid, " ", leader.process_group, " ",
                      leader.session, " ", leader.uid, " ",
                      leader.dies_with_parent, " ", leader.owner_adopts);
}

std::optional<LeaderMark> ParseLeader(const std::string& text) {
  std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  LeaderMark leader;
  bool parsed = words.size() == 6 && ParseNumber(words[0], &leader.pid) &&
                ParseNumber(words[1], &leader.process_group) &&
                ParseNumber(words[2], &leader.session) &&
                ParseNumber(words[3], &leader.uid);
  if (!parsed) return std::nullopt;
  leader.dies_with_parent = words[4] == "1";
  leader.owner_adopts = words[5] == "1";
  return leader;
}

absl::Status SetLeader(int leaf_fd, const std::string& shown,
                       const LeaderMark& leader) {
  return kernel::SetCgroupAttribute(leaf_fd, kLeaderAttribute,
                                    FormatLeader(leader), shown);
}

std::optional<LeaderMark> FindLeader(const kernel::Cgroup& leaf,
                                     const LeafOwner& owner) {
  if (!IsOfOurNumbers(owner)) return std::nullopt;
  absl::StatusOr<std::optional<std::string>> text =
      leaf.Attribute(kLeaderAttribute);
  if (!text.ok() || !text->has_value()) return std::nullopt;
  return ParseLeader(**text);
}

// Is it alive, and was it at that moment?
absl::StatusOr<OwnerSight> SeeOwner(const LeafOwner& owner) {
  absl::StatusOr<std::optional<pid_t>> pid = FindPid(owner);
  if (!pid.ok()) return pid.status();
  if (!pid->has_value()) return Seen(OwnerState::kUnknown, 0);
  if (**pid == 0) return Seen(OwnerState::kGone, owner.pid);
  absl::StatusOr<std::optional<kernel::ProcessStat>> stat =
      kernel::FindProcess(**pid);
  // Another user's, and /proc hides those: hidepid, proc(5).
  bool hides =
      absl::IsPermissionDenied(stat.status()) ||
      (stat.ok() && !stat->has_value() && kernel::ProcessGroupOf(**pid) >= 0);
  if (hides) return Seen(OwnerState::kUnknown, 0);
  if (!stat.ok()) return stat.status();
  if (!stat->has_value() || (*stat)->IsDead()) {
    return Seen(OwnerState::kGone, owner.pid);
  }
  uint64_t clock = kernel::NamespaceOf(**pid, "time");
  if (clock != 0 && clock != kernel::NamespaceOf(0, "time")) {
    return Seen(OwnerState::kUnknown, 0);
  }
  return (*stat)->StartedAt() <= owner.moment
             ? Seen(OwnerState::kAlive, **pid)
             : Seen(OwnerState::kGone, owner.pid);
}

absl::StatusOr<OwnerSight> SeeOwner(const kernel::Cgroup& leaf,
                                    const LeafOwner& named) {
  absl::StatusOr<MarkedOwner> marked = OwnerOf(leaf, named);
  if (!marked.ok()) return marked.status();
  absl::StatusOr<OwnerSight> sight = SeeOwner(marked->owner);
  if (sight.ok()) sight->kept = marked->kept;
  return sight;
}

absl::StatusOr<OwnerWatch> WatchOwner(const kernel::Cgroup& leaf,
                                      const LeafOwner& named) {
  absl::StatusOr<MarkedOwner> marked = OwnerOf(leaf, named);
  if (!marked.ok()) return marked.status();
  OwnerWatch watch;
  watch.state = OwnerState::kKept;
  if (marked->kept) return watch;
  absl::StatusOr<std::optional<pid_t>> pid = FindPid(marked->owner);
  if (!pid.ok()) return pid.status();
  if (pid->has_value() && **pid != 0) {
    absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(**pid);
    if (!pidfd.ok() && !absl::IsNotFound(pidfd.status())) return pidfd.status();
    watch.pid = **pid;
    if (pidfd.ok()) watch.pidfd = *std::move(pidfd);
  }
  // Only now: the pid may have been another's by then.
  absl::StatusOr<OwnerSight> sight = SeeOwner(marked->owner);
  if (!sight.ok()) return sight.status();
  watch.state = sight->state;
  return watch;
}

}  // namespace treekill::containment
