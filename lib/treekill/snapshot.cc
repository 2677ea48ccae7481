#include "treekill/snapshot.h"

#include <algorithm>
#include <csignal>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/process_directory.h"

namespace treekill::internal {
namespace {

using kernel::ProcessDirectory;
using kernel::ProcessStat;

using Parents = std::unordered_map<pid_t, pid_t>;

// No tree is as deep as that: a circle can only come of a pid that was reused
// while the tree was looked at.
constexpr int kMostGenerations = 100000;

// What was read of one process, before its tree is known as a whole.
struct Look {
  Member member;
  bool ignores_term = false;
  bool is_in_inner_namespace = false;
  bool is_namespace_init = false;
  bool may_signal = true;
  bool holds_stdout = false;
  bool holds_stderr = false;
};

void SplitCommandLine(std::string text, Member* member) {
  member->argv_truncated = text.size() > Member::kMaxArgvBytes;
  text.resize(std::min(text.size(), Member::kMaxArgvBytes));
  if (text.empty()) return;
  // A program may have overwritten the last NUL.
  if (!member->argv_truncated && text.back() == '\0') text.pop_back();
  member->argv = absl::StrSplit(text, '\0');
}

void LookAtStreams(const ProcessDirectory& directory, const TreeBounds& bounds,
                   Look* look) {
  if (bounds.stdout_target.empty() && bounds.stderr_target.empty()) return;
  absl::StatusOr<std::vector<kernel::OpenDescriptor>> files =
      directory.OpenFiles();
  if (!files.ok()) return;
  for (const kernel::OpenDescriptor& file : *files) {
    look->holds_stdout |= file.target == bounds.stdout_target;
    look->holds_stderr |= file.target == bounds.stderr_target;
  }
}

// nullopt when the process is dead.
std::optional<Look> LookAt(pid_t pid, const TreeBounds& bounds,
                           kernel::PatientReader* reader) {
  absl::StatusOr<ProcessDirectory> directory = ProcessDirectory::Open(pid);
  if (!directory.ok()) return std::nullopt;
  absl::StatusOr<ProcessStat> stat = directory->Stat();
  if (!stat.ok() || stat->IsDead()) return std::nullopt;
  bool may_signal = directory->MaySignal();
  char state = directory->GoToLivingThread(*stat);
  absl::Duration age = kernel::BootTimeNow() - stat->StartedAt();
  Look look{.member = {.pid = pid,
                       .parent = stat->parent,
                       .process_group = stat->process_group,
                       .session = stat->session,
                       .start_time = stat->start_time,
                       .age = std::max(age, absl::ZeroDuration()),
                       .name = stat->comm,
                       .uid = bounds.uid,
                       .state = state,
                       .wait_channel = directory->WaitChannel(),
                       .cgroup = directory->Cgroup().value_or("")}};
  absl::StatusOr<std::string> arguments =
      directory->CommandLine(Member::kMaxArgvBytes + 1, reader);
  if (arguments.ok()) SplitCommandLine(*std::move(arguments), &look.member);
  absl::StatusOr<kernel::ProcessStatus> status = directory->Status();
  if (status.ok()) {
    constexpr uint64_t kTerm = uint64_t{1} << (SIGTERM - 1);
    look.member.uid = status->uid;
    look.ignores_term = (status->ignored_signals & kTerm) != 0;
    look.is_in_inner_namespace = status->IsInInnerNamespace();
    look.is_namespace_init = status->IsNamespaceInit();
  }
  look.may_signal = may_signal;
  LookAtStreams(*directory, bounds, &look);
  return look;
}

void SortByAge(std::vector<Member>* members) {
  std::sort(
      members->begin(), members->end(), [](const Member& a, const Member& b) {
        return std::tie(a.start_time, a.pid) < std::tie(b.start_time, b.pid);
      });
}

bool Has(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

// Compares one member after the other with the bounds of their tree.
class Comparison final {
 public:
  Comparison(const TreeBounds& bounds, const Parents& parents)
      : bounds_(bounds), members_(parents), parents_(parents) {}

  void Complete(Look* look) {
    Member& member = look->member;
    bool is_leader = member.pid == bounds_.leader;
    bool knows_groups = bounds_.process_group != 0;
    bool migrated = !bounds_.leaf_name.empty() && !member.cgroup.empty() &&
                    !containment::IsInLeaf(member.cgroup, bounds_.leaf_name);
    bool new_session = knows_groups && member.session != bounds_.session;
    bool new_group =
        knows_groups && member.process_group != bounds_.process_group;
    SetReach(look->may_signal, migrated, &member);
    const std::pair<Escape, bool> escapes[] = {
        {Escape::kNewSession, new_session},
        {Escape::kNewProcessGroup, new_group && !new_session},
        {Escape::kReparented, IsReparented(member)},
        {Escape::kMigrated, migrated},
        {Escape::kOtherUid, member.uid != bounds_.uid},
        {Escape::kIgnoresTerm, look->ignores_term},
        {Escape::kHoldsStdout, look->holds_stdout && !is_leader},
        {Escape::kHoldsStderr, look->holds_stderr && !is_leader}};
    for (const auto& [escape, is_so] : escapes) {
      if (is_so) member.escapes.push_back(escape);
    }
  }

 private:
  void SetReach(bool may_signal, bool migrated, Member* member) {
    bool is_leader = member->pid == bounds_.leader;
    bool in_group = bounds_.process_group != 0 &&
                    member->process_group == bounds_.process_group;
    member->reach = {
        .process = may_signal && is_leader,
        .process_group = may_signal && in_group,
        // The kernel forgets it when a program gets other rights.
        .parent_death_signal =
            is_leader && bounds_.dies_with_parent && member->uid == bounds_.uid,
        .subreaper = may_signal && (is_leader || ComesBack(member->parent)),
        .cgroup = !bounds_.leaf_name.empty() && !migrated &&
                  (bounds_.has_cgroup_kill || may_signal)};
  }

  // Its parent is whoever adopts orphans, and has not started it.
  bool IsReparented(const Member& member) const {
    if (member.pid == bounds_.leader) return false;
    if (!bounds_.adopters.empty()) return Has(bounds_.adopters, member.parent);
    return member.parent != bounds_.leader &&
           members_.count(member.parent) == 0;
  }

  // Is `pid`, or who is above it, the leader or an adopter? Where there is no
  // adopter orphans are init's, or whose else: one of ours they would come to.
  bool ComesBack(pid_t pid) {
    if (bounds_.adopters.empty()) return true;
    std::vector<pid_t> line;
    std::optional<bool> answer;
    while (!answer.has_value()) {
      // As long as it is not known, false: so a circle ends.
      auto [known, is_new] = comes_back_.emplace(pid, false);
      if (!is_new) {
        answer = known->second;
        continue;
      }
      line.push_back(pid);
      if (pid <= 1) {
        answer = false;
      } else if (pid == bounds_.leader || Has(bounds_.adopters, pid)) {
        answer = true;
      } else {
        std::optional<pid_t> above = ParentOf(pid);
        // It has ended since, and who was below it has come to an adopter.
        if (!above.has_value()) answer = true;
        pid = above.value_or(0);
      }
    }
    for (pid_t one : line) comes_back_[one] = *answer;
    return *answer;
  }

  std::optional<pid_t> ParentOf(pid_t pid) {
    auto known = parents_.find(pid);
    if (known != parents_.end()) return known->second;
    std::optional<ProcessStat> stat = kernel::ReadProcessStat(pid);
    if (!stat.has_value()) return std::nullopt;
    return parents_.emplace(pid, stat->parent).first->second;
  }

  const TreeBounds& bounds_;
  // Of the members.
  const Parents& members_;
  // And of those above who were asked for.
  Parents parents_;
  // The answers of ComesBack().
  std::unordered_map<pid_t, bool> comes_back_;
};

void Add(const Reach& more, Reach* reach) {
  reach->process |= more.process;
  reach->process_group |= more.process_group;
  reach->parent_death_signal |= more.parent_death_signal;
  reach->subreaper |= more.subreaper;
  reach->cgroup |= more.cgroup;
}

// What hits the init of a PID namespace hits everybody in it.
void ReachThroughNamespaces(std::vector<Look>* looks) {
  std::unordered_map<pid_t, const Look*> by_pid;
  for (const Look& look : *looks) by_pid.emplace(look.member.pid, &look);
  for (Look& look : *looks) {
    if (!look.is_in_inner_namespace) continue;
    auto above = by_pid.find(look.member.parent);
    for (int steps = 0; above != by_pid.end() && steps < kMostGenerations;
         ++steps) {
      if (above->second->is_namespace_init) {
        Add(above->second->member.reach, &look.member.reach);
      }
      above = by_pid.find(above->second->member.parent);
    }
  }
}

}  // namespace

std::string StreamTarget(int fd) {
  std::string target = kernel::TargetOfFd(fd);
  bool is_stream = absl::StartsWith(target, "pipe:[") ||
                   absl::StartsWith(target, "socket:[");
  return is_stream ? target : "";
}

std::vector<Member> DescribeMembers(const std::vector<pid_t>& pids) {
  kernel::PatientReader reader(kPatience);
  std::vector<Member> members;
  for (pid_t pid : pids) {
    std::optional<Look> look = LookAt(pid, TreeBounds(), &reader);
    if (look.has_value()) members.push_back(std::move(look->member));
  }
  SortByAge(&members);
  return members;
}

std::vector<Member> DescribeTree(const std::vector<pid_t>& pids,
                                 const TreeBounds& bounds,
                                 absl::Duration deadline) {
  kernel::PatientReader reader(
      std::min(kPatience, deadline - kernel::MonotonicNow()));
  std::vector<Look> looks;
  Parents parents;
  for (pid_t pid : pids) {
    if (kernel::MonotonicNow() >= deadline) break;
    std::optional<Look> look = LookAt(pid, bounds, &reader);
    if (!look.has_value()) continue;
    parents.emplace(pid, look->member.parent);
    looks.push_back(*std::move(look));
  }
  Comparison comparison(bounds, parents);
  std::vector<Member> members;
  for (Look& look : looks) comparison.Complete(&look);
  ReachThroughNamespaces(&looks);
  for (Look& look : looks) members.push_back(std::move(look.member));
  SortByAge(&members);
  return members;
}

}  // namespace treekill::internal
