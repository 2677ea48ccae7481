// What a tree is doing, looked at while it is frozen.
#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/kernel/process_directory.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/supervisor_impl.h"

namespace treekill {
namespace {

using internal::TreeState;
using kernel::MonotonicNow;
using kernel::ProcessDirectory;

// Together less than the second that tree.h promises.
constexpr absl::Duration kTimeToReadBefore = absl::Milliseconds(150);
constexpr absl::Duration kTimeToFreeze = absl::Milliseconds(250);
constexpr absl::Duration kTimeToDescribe = absl::Milliseconds(300);
constexpr absl::Duration kTimeToReadStreams = absl::Milliseconds(200);

absl::Duration Limit(absl::Duration usual) {
  return kernel::TimeLimit("dump", usual);
}

// What a process shows of itself as long as it is not frozen.
struct Activity {
  uint64_t start_time = 0;
  char state = '?';
  std::string wait_channel;
  std::string kernel_stack;
};

using Activities = std::unordered_map<pid_t, Activity>;

std::optional<Activity> ReadActivity(pid_t pid, kernel::PatientReader* reader) {
  absl::StatusOr<ProcessDirectory> directory = ProcessDirectory::Open(pid);
  if (!directory.ok()) return std::nullopt;
  absl::StatusOr<kernel::ProcessStat> stat = directory->Stat();
  if (!stat.ok()) return std::nullopt;
  char state = directory->GoToLivingThread(*stat);
  return Activity{stat->start_time, state, directory->WaitChannel(),
                  directory->KernelStack(reader)};
}

// Of those in the hold: who has moved out of it is not frozen.
Activities ReadActivities(containment::Hold& hold) {
  Activities activities;
  absl::StatusOr<std::vector<pid_t>> pids = hold.Members();
  if (!pids.ok()) return activities;
  kernel::PatientReader reader(Limit(kTimeToReadBefore));
  absl::Duration deadline = MonotonicNow() + Limit(kTimeToReadBefore);
  for (pid_t pid : *pids) {
    if (MonotonicNow() >= deadline) break;
    std::optional<Activity> activity = ReadActivity(pid, &reader);
    if (activity.has_value()) activities[pid] = *std::move(activity);
  }
  return activities;
}

absl::Status MayFreeze(const TreeState& tree) {
  if (tree.hold->cgroup_fd() < 0) {
    return absl::UnimplementedError("it is in no cgroup");
  }
  if (tree.report.on_supervisor_death == OnSupervisorDeath::kKillTree) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "without a guardian nobody would thaw it if this process were killed");
}

// OK when everybody is frozen.
absl::Status Freeze(containment::Hold& hold) {
  absl::StatusOr<bool> frozen =
      hold.Freeze(MonotonicNow() + Limit(kTimeToFreeze));
  if (!frozen.ok() || *frozen) return frozen.status();
  return absl::DeadlineExceededError(
      absl::StrCat("not everybody came to rest in ",
                   absl::FormatDuration(Limit(kTimeToFreeze)),
                   "; who is in state D cannot"));
}

absl::StatusOr<std::vector<OpenStream>> ReadStreams(const Member& member) {
  absl::StatusOr<ProcessDirectory> directory =
      ProcessDirectory::Open(member.pid);
  if (!directory.ok()) return directory.status();
  absl::StatusOr<kernel::ProcessStat> stat = directory->Stat();
  if (!stat.ok()) return stat.status();
  if (stat->start_time != member.start_time) {
    return absl::NotFoundError("it has ended");
  }
  directory->GoToLivingThread(*stat);
  absl::StatusOr<std::vector<kernel::OpenDescriptor>> files =
      directory->OpenFiles();
  if (!files.ok()) return files.status();
  std::vector<OpenStream> streams;
  for (kernel::OpenDescriptor& file : *files) {
    if (absl::StartsWith(file.target, "pipe:[") ||
        absl::StartsWith(file.target, "socket:[")) {
      streams.push_back(
          {file.fd, std::move(file.target), file.readable, file.writable});
    }
  }
  std::sort(
      streams.begin(), streams.end(),
      [](const OpenStream& a, const OpenStream& b) { return a.fd < b.fd; });
  return streams;
}

void AddStreams(absl::Duration deadline,
                std::vector<DiagnosedMember>* members) {
  for (DiagnosedMember& diagnosed : *members) {
    if (MonotonicNow() >= deadline) {
      diagnosed.streams_error =
          absl::DeadlineExceededError("there was no time to look");
      continue;
    }
    absl::StatusOr<std::vector<OpenStream>> streams =
        ReadStreams(diagnosed.member);
    diagnosed.streams_error = streams.status();
    if (streams.ok()) diagnosed.streams = *std::move(streams);
  }
}

void NoteSharedStreams(Diagnosis* diagnosis) {
  std::map<std::string, std::vector<StreamHolder>> holders;
  for (const DiagnosedMember& diagnosed : diagnosis->members) {
    pid_t pid = diagnosed.member.pid;
    for (const OpenStream& stream : diagnosed.streams) {
      std::vector<StreamHolder>& of_stream = holders[stream.target];
      if (of_stream.empty() || of_stream.back().pid != pid) {
        of_stream.push_back({pid});
      }
      of_stream.back().reads |= stream.reads;
      of_stream.back().writes |= stream.writes;
    }
  }
  for (auto& [target, of_stream] : holders) {
    if (of_stream.size() < 2) continue;
    std::sort(of_stream.begin(), of_stream.end(),
              [](const StreamHolder& a, const StreamHolder& b) {
                return a.pid < b.pid;
              });
    diagnosis->shared_streams.emplace(target, std::move(of_stream));
  }
}

void AddActivities(Activities before, std::vector<DiagnosedMember>* members) {
  kernel::PatientReader reader(Limit(kTimeToReadBefore));
  for (DiagnosedMember& diagnosed : *members) {
    Member& member = diagnosed.member;
    auto known = before.find(member.pid);
    bool is_known =
        known != before.end() && known->second.start_time == member.start_time;
    std::optional<Activity> activity =
        is_known ? std::move(known->second) : ReadActivity(member.pid, &reader);
    if (!activity.has_value() || activity->start_time != member.start_time) {
      continue;
    }
    member.state = activity->state;
    member.wait_channel = std::move(activity->wait_channel);
    diagnosed.kernel_stack = std::move(activity->kernel_stack);
  }
}

void LookAtMembers(const TreeState& tree, Activities before,
                   Diagnosis* diagnosis) {
  absl::StatusOr<std::vector<pid_t>> pids = internal::FindPids(tree);
  diagnosis->members_error = pids.status();
  if (!pids.ok()) return;
  diagnosis->alive = static_cast<int>(pids->size());
  std::stable_partition(pids->begin(), pids->end(), [&tree](pid_t pid) {
    return pid == tree.report.leader;
  });
  absl::Duration deadline = MonotonicNow() + Limit(kTimeToDescribe);
  std::vector<Member> described =
      internal::DescribeTree(*pids, internal::BoundsOf(tree), deadline);
  for (const TreePlace& place : InTreeOrder(described)) {
    DiagnosedMember& diagnosed = diagnosis->members.emplace_back();
    diagnosed.member = std::move(described[place.index]);
    diagnosed.depth = place.depth;
  }
  AddActivities(std::move(before), &diagnosis->members);
  AddStreams(MonotonicNow() + Limit(kTimeToReadStreams), &diagnosis->members);
  NoteSharedStreams(diagnosis);
}

}  // namespace

Diagnosis internal::Diagnose(const TreeState& tree) {
  Diagnosis diagnosis;
  diagnosis.run_time = MonotonicNow() - tree.started;
  diagnosis.freeze_error = MayFreeze(tree);
  if (!diagnosis.freeze_error.ok()) {
    LookAtMembers(tree, /*before=*/{}, &diagnosis);
    return diagnosis;
  }
  Activities before = ReadActivities(*tree.hold);
  diagnosis.freeze_error = Freeze(*tree.hold);
  diagnosis.frozen = diagnosis.freeze_error.ok();
  LookAtMembers(tree, std::move(before), &diagnosis);
  diagnosis.freeze_error.Update(tree.hold->Thaw());
  return diagnosis;
}

}  // namespace treekill
