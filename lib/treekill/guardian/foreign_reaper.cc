#include "treekill/guardian/foreign_reaper.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/guardian/reaper_protocol.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/process_directory.h"

namespace treekill::guardian {
namespace {

// More than any of theirs.
constexpr size_t kLongestCommandLine = 1024;

constexpr absl::Duration kPatience = absl::Seconds(2);

// Of all processes, so no more than this is read of most.
bool IsCalledReaper(pid_t pid) {
  std::string path = absl::StrCat("/proc/", pid, "/comm");
  absl::StatusOr<std::string> name = kernel::ReadFile(AT_FDCWD, path, path);
  return name.ok() && *name == absl::StrCat(kReaperName, "\n");
}

// One process of a reaper; nullopt when it is none.
std::optional<FoundReaper> LookAt(pid_t pid, kernel::PatientReader* reader) {
  absl::StatusOr<kernel::ProcessDirectory> directory =
      kernel::ProcessDirectory::Open(pid);
  if (!directory.ok()) return std::nullopt;
  absl::StatusOr<std::string> line =
      directory->CommandLine(kLongestCommandLine, reader);
  absl::StatusOr<kernel::ProcessStat> stat = directory->Stat();
  absl::StatusOr<kernel::ProcessStatus> status = directory->Status();
  if (!line.ok() || !stat.ok() || !status.ok()) return std::nullopt;
  if (stat->comm != kReaperName || stat->IsDead()) return std::nullopt;
  bool is_trusted =
      geteuid() == 0 || status->uid == 0 || status->uid == geteuid();
  size_t end = line->find('\0');
  std::optional<std::string> id = ParseReaper(line->substr(0, end));
  if (!is_trusted || !id.has_value()) return std::nullopt;
  std::optional<containment::LeafName> tree = containment::ParseLeafName(*id);
  if (!tree.has_value()) return std::nullopt;
  FoundReaper reaper{.id = *std::move(id),
                     .tree = *std::move(tree),
                     .uid = status->uid,
                     .processes = {*std::move(stat)}};
  bool shows_leader = containment::IsOfOurNumbers(reaper.tree.owner) &&
                      end != std::string::npos;
  if (shows_leader) {
    std::string shown = line->substr(end + 1);
    shown.resize(shown.find_last_not_of(std::string(" \0", 2)) + 1);
    reaper.leader = containment::ParseLeader(shown);
  }
  return reaper;
}

}  // namespace

pid_t FoundReaper::inner() const {
  for (const kernel::ProcessStat& outer : processes) {
    for (const kernel::ProcessStat& inner : processes) {
      if (inner.parent == outer.pid) return inner.pid;
    }
  }
  return 0;
}

absl::StatusOr<std::vector<FoundReaper>> FindReapers() {
  absl::StatusOr<std::vector<pid_t>> pids = kernel::ListProcesses();
  if (!pids.ok()) return pids.status();
  // Anybody can be called so, and hold us up.
  kernel::PatientReader reader(kPatience);
  std::vector<FoundReaper> found;
  for (pid_t pid : *pids) {
    if (!IsCalledReaper(pid)) continue;
    std::optional<FoundReaper> reaper = LookAt(pid, &reader);
    if (!reaper.has_value()) continue;
    auto known = std::find_if(
        found.begin(), found.end(), [&reaper](const FoundReaper& other) {
          return other.id == reaper->id && other.uid == reaper->uid;
        });
    if (known == found.end()) {
      found.push_back(*std::move(reaper));
    } else {
      known->processes.push_back(std::move(reaper->processes[0]));
      if (reaper->leader.has_value()) known->leader = reaper->leader;
    }
  }
  return found;
}

absl::StatusOr<std::unique_ptr<ForeignReaper>> ForeignReaper::Open(
    const FoundReaper& reaper) {
  std::vector<Process> processes;
  for (const kernel::ProcessStat& process : reaper.processes) {
    absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(process.pid);
    if (absl::IsNotFound(pidfd.status())) continue;
    if (!pidfd.ok()) return pidfd.status();
    std::optional<kernel::ProcessStat> now =
        kernel::ReadProcessStat(process.pid);
    bool is_same = now.has_value() && now->start_time == process.start_time;
    if (!is_same || kernel::HasEnded(pidfd->get())) continue;
    processes.push_back({process.pid, *std::move(pidfd)});
  }
  if (processes.empty()) {
    return absl::NotFoundError(absl::StrCat(reaper.id, " is over"));
  }
  return std::unique_ptr<ForeignReaper>(
      new ForeignReaper(std::move(processes)));
}

bool ForeignReaper::AwaitEnd(absl::Duration until) const {
  for (const Process& process : processes_) {
    if (!kernel::AwaitEnd(process.pidfd.get(), until)) return false;
  }
  return true;
}

containment::Descendants ForeignReaper::descendants() const {
  std::vector<pid_t> ancestors;
  for (const Process& process : processes_) ancestors.push_back(process.pid);
  return containment::Descendants(std::move(ancestors),
                                  [this](pid_t pid) { return IsReaper(pid); });
}

bool ForeignReaper::IsReaper(pid_t pid) const {
  return std::any_of(
      processes_.begin(), processes_.end(), [pid](const Process& process) {
        return process.pid == pid && !kernel::HasEnded(process.pidfd.get());
      });
}

bool ForeignReaper::ReaperHasEnded() const {
  return std::all_of(processes_.begin(), processes_.end(),
                     [](const Process& process) {
                       return kernel::HasEnded(process.pidfd.get());
                     });
}

absl::StatusOr<bool> ForeignReaper::IsEmpty() {
  return ReaperHasEnded() &&
         std::all_of(victims_.begin(), victims_.end(), [](const auto& victim) {
           return victim.second.HasEnded();
         });
}

absl::StatusOr<std::vector<pid_t>> ForeignReaper::Members() {
  if (!ReaperHasEnded()) return descendants().Pids();
  std::vector<pid_t> pids;
  for (const auto& [pid, victim] : victims_) {
    if (!victim.HasEnded()) pids.push_back(pid);
  }
  return pids;
}

bool ForeignReaper::Contains(pid_t pid) const {
  absl::StatusOr<std::vector<pid_t>> pids = descendants().Pids();
  return pids.ok() && std::find(pids->begin(), pids->end(), pid) != pids->end();
}

absl::Status ForeignReaper::Remember() {
  absl::StatusOr<std::vector<kernel::ProcessStat>> live = descendants().Live();
  if (!live.ok()) return live.status();
  for (auto victim = victims_.begin(); victim != victims_.end();) {
    victim =
        victim->second.HasEnded() ? victims_.erase(victim) : std::next(victim);
  }
  for (kernel::ProcessStat& process : *live) {
    pid_t pid = process.pid;
    victims_.try_emplace(
        pid, containment::FoundProcess{std::move(process), kernel::UniqueFd()});
  }
  return absl::OkStatus();
}

containment::SignalRound ForeignReaper::SignalVictims(int signal,
                                                      pid_t only_group) const {
  auto no = [](const kernel::ProcessStat&) { return false; };
  containment::Gathering meant(no, no);
  for (const auto& [pid, victim] : victims_) {
    if (only_group != 0 && victim.stat.process_group != only_group) continue;
    meant.Add({victim.stat, kernel::UniqueFd()});
  }
  return meant.Signal(signal, /*leader=*/0);
}

containment::SignalRound ForeignReaper::Signal(int signal, pid_t only_group) {
  absl::Status remembered = Remember();
  if (ReaperHasEnded()) return SignalVictims(signal, only_group);
  containment::SignalRound round =
      descendants().Signal(signal, only_group, /*leader=*/0);
  round.error.Update(remembered);
  return round;
}

absl::Status ForeignReaper::Kill() {
  containment::SignalRound round = Signal(SIGKILL, /*only_group=*/0);
  refused_ = round.refused > 0 && round.signalled == 0;
  return round.error;
}

absl::Status ForeignReaper::Remove() {
  return BusyUnlessEmpty("waitid", "a process of it is alive");
}

}  // namespace treekill::guardian
