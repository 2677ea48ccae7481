#include "treekill/kernel/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/process_directory.h"

namespace treekill::kernel {
namespace {

std::string ProcPath(pid_t pid, const char* file) {
  if (pid == 0) return absl::StrCat("/proc/self/", file);
  return absl::StrCat("/proc/", pid, "/", file);
}

absl::Duration OfTicks(uint64_t ticks) {
  static const int64_t a_second = sysconf(_SC_CLK_TCK);
  return absl::Seconds(1) * ticks / a_second;
}
// include/linux/sched.h, for the flags in /proc/PID/stat.
constexpr uint32_t kKernelThreadFlag = 0x00200000;

bool MeansGone(const absl::Status& status) {
  int error = StatusErrno(status);
  return error == ENOENT || error == ESRCH;
}

}  // namespace

std::optional<ProcessStat> ParseProcessStat(const std::string& text) {
  // pid (comm) state ppid ...: comm may hold spaces and parentheses itself.
  size_t open = text.find(" (");
  size_t close = text.rfind(") ");
  if (open == std::string::npos || close == std::string::npos || close < open) {
    return std::nullopt;
  }
  ProcessStat stat;
  stat.comm = text.substr(open + 2, close - open - 2);
  std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(text).substr(close + 2), ' ');
  if (fields.size() < 20 || fields[0].size() != 1) return std::nullopt;
  stat.state = fields[0][0];
  uint32_t flags = 0;
  bool parsed = absl::SimpleAtoi(text.substr(0, open), &stat.pid) &&
                absl::SimpleAtoi(fields[1], &stat.parent) &&
                absl::SimpleAtoi(fields[2], &stat.process_group) &&
                absl::SimpleAtoi(fields[3], &stat.session) &&
                absl::SimpleAtoi(fields[6], &flags) &&
                absl::SimpleAtoi(fields[17], &stat.threads) &&
                absl::SimpleAtoi(fields[19], &stat.start_time);
  if (!parsed) return std::nullopt;
  // utime, stime, cutime, cstime.
  for (int field = 11; field <= 14; ++field) {
    uint64_t ticks = 0;
    if (!absl::SimpleAtoi(fields[field], &ticks)) return std::nullopt;
    stat.cpu_ticks += ticks;
  }
  stat.is_kernel_thread = (flags & kKernelThreadFlag) != 0;
  return stat;
}

absl::StatusOr<std::optional<ProcessStat>> FindProcess(pid_t pid) {
  std::string path = ProcPath(pid, "stat");
  absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, path, path);
  if (MeansGone(text.status())) return std::nullopt;
  if (!text.ok()) return text.status();
  return ParseProcessStat(*text);
}

std::optional<ProcessStat> ReadProcessStat(pid_t pid) {
  absl::StatusOr<std::optional<ProcessStat>> found = FindProcess(pid);
  return found.ok() ? *std::move(found) : std::nullopt;
}

absl::Duration ProcessStat::StartedAt() const { return OfTicks(start_time); }
absl::Duration ProcessStat::CpuTime() const { return OfTicks(cpu_ticks); }

uint64_t NamespaceOf(pid_t pid, const std::string& kind) {
  struct stat status;
  std::string path = ProcPath(pid, absl::StrCat("ns/", kind).c_str());
  return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

absl::StatusOr<std::vector<pid_t>> NamespacePids(pid_t pid) {
  std::string path = ProcPath(pid, "status");
  absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, path, path);
  if (MeansGone(text.status())) return std::vector<pid_t>();
  if (!text.ok()) return text.status();
  std::optional<ProcessStatus> status = ParseProcessStatus(*text);
  if (!status.has_value()) return std::vector<pid_t>();
  return std::move(status->namespace_pids);
}

pid_t ProcessGroupOf(pid_t pid) { return getpgid(pid); }

absl::Status CheckProc() {
  absl::StatusOr<std::optional<ProcessStat>> self = FindProcess(0);
  if (!self.ok()) return self.status();
  if (self->has_value() && (*self)->pid == getpid()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "/proc is missing or shows another PID namespace; mount it: mount -t "
      "proc proc /proc");
}

namespace {

// The entries of a directory that are numbers.
absl::Status VisitNumbers(const std::string& path,
                          const std::function<void(pid_t)>& visit) {
  absl::StatusOr<UniqueFd> directory =
      OpenFile(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, path);
  if (!directory.ok()) return directory.status();
  // Small: what is in it grows old.
  alignas(dirent64) char buffer[1024];
  while (true) {
    ssize_t size = getdents64(directory->get(), buffer, sizeof(buffer));
    if (size < 0) {
      return ErrnoStatus(errno, "getdents64",
                         absl::StrCat("cannot list ", path));
    }
    if (size == 0) return absl::OkStatus();
    for (ssize_t next = 0; next < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + next);
      next += entry->d_reclen;
      pid_t number = 0;
      if (absl::SimpleAtoi(entry->d_name, &number)) visit(number);
    }
  }
}

}  // namespace

absl::Status VisitProcesses(const std::function<void(pid_t)>& visit) {
  absl::Status ours = CheckProc();
  if (!ours.ok()) return ours;
  return VisitNumbers("/proc", visit);
}

pid_t LastPid() {
  constexpr char kPath[] = "/proc/loadavg";
  absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, kPath, kPath);
  if (!text.ok()) return 0;
  pid_t last = 0;
  // Such as "0.20 0.18 0.12 1/80 11206".
  bool parsed = absl::SimpleAtoi(text->substr(text->rfind(' ') + 1), &last);
  return parsed ? last : 0;
}

absl::StatusOr<std::vector<pid_t>> ListProcesses() {
  std::vector<pid_t> pids;
  absl::Status visited =
      VisitProcesses([&pids](pid_t pid) { pids.push_back(pid); });
  if (!visited.ok()) return visited;
  return pids;
}

namespace {

bool IsStoppedState(char state) {
  return state == 'T' || state == 't' || state == 'Z' || state == 'X';
}

}  // namespace

bool HasStopped(pid_t pid) {
  std::optional<ProcessStat> leader = ReadProcessStat(pid);
  if (!leader.has_value()) return true;
  if (!IsStoppedState(leader->state)) return false;
  if (leader->threads <= 1) return true;
  bool stopped = true;
  std::string tasks = ProcPath(pid, "task");
  (void)VisitNumbers(tasks, [&](pid_t thread) {
    std::string path = absl::StrCat(tasks, "/", thread, "/stat");
    absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, path, path);
    std::optional<ProcessStat> stat;
    if (text.ok()) stat = ParseProcessStat(*text);
    stopped &= !stat.has_value() || IsStoppedState(stat->state);
  });
  return stopped;
}

namespace {

using ProcessTable = std::unordered_map<pid_t, ProcessStat>;

// Who hides from us (hidepid=1, proc(5)) is another user's, and not to be
// signalled by us anyway.
absl::StatusOr<std::optional<ProcessStat>> FindVisible(pid_t pid) {
  absl::StatusOr<std::optional<ProcessStat>> found = FindProcess(pid);
  int error = StatusErrno(found.status());
  if (error == EPERM || error == EACCES) return std::nullopt;
  return found;
}

// One whose parent has ended since it was read has another parent by now.
absl::Status ReadOrphansAgain(ProcessTable* table) {
  constexpr int kTries = 4;
  bool any_gone = true;
  for (int tries = 0; any_gone && tries < kTries; ++tries) {
    any_gone = false;
    for (auto entry = table->begin(); entry != table->end();) {
      ProcessStat& stat = entry->second;
      // 0: it has none in this PID namespace.
      if (stat.parent == 0 || table->count(stat.parent) > 0) {
        ++entry;
        continue;
      }
      any_gone = true;
      absl::StatusOr<std::optional<ProcessStat>> found = FindVisible(stat.pid);
      if (!found.ok()) return found.status();
      if (found->has_value()) {
        stat = **found;
        ++entry;
      } else {
        entry = table->erase(entry);
      }
    }
  }
  return absl::OkStatus();
}

// Of the last of them. One that has ended is nobody's parent any more.
absl::StatusOr<bool> IsStillParentOf(const std::vector<ProcessStat>& ancestry,
                                     pid_t parent) {
  if (ancestry.empty()) return false;
  absl::StatusOr<std::optional<ProcessStat>> child =
      FindVisible(ancestry.back().pid);
  if (!child.ok()) return child.status();
  return child->has_value() && (*child)->parent == parent;
}

}  // namespace

absl::StatusOr<std::vector<ProcessStat>> ListAncestry() {
  absl::Status ours = CheckProc();
  if (!ours.ok()) return ours;
  std::vector<ProcessStat> ancestry;
  // 0: it is another PID namespace's, or nobody's.
  for (pid_t pid = getpid(); pid != 0;) {
    absl::StatusOr<std::optional<ProcessStat>> found = FindVisible(pid);
    if (!found.ok()) return found.status();
    if (found->has_value()) {
      pid = (*found)->parent;
      ancestry.push_back(*std::move(*found));
      continue;
    }
    absl::StatusOr<bool> hides = IsStillParentOf(ancestry, pid);
    if (!hides.ok()) return hides.status();
    if (*hides) break;
    ancestry.clear();
    pid = getpid();
  }
  return ancestry;
}

absl::StatusOr<std::vector<ProcessStat>> ListProcessGroup(pid_t group) {
  absl::StatusOr<std::vector<pid_t>> pids = ListProcesses();
  if (!pids.ok()) return pids.status();
  std::vector<ProcessStat> members;
  for (pid_t pid : *pids) {
    if (ProcessGroupOf(pid) != group) continue;
    absl::StatusOr<std::optional<ProcessStat>> found = FindVisible(pid);
    if (!found.ok()) return found.status();
    if (found->has_value() && (*found)->process_group == group) {
      members.push_back(*std::move(*found));
    }
  }
  return members;
}

absl::StatusOr<std::vector<ProcessStat>> ListDescendants(
    const std::vector<pid_t>& ancestors) {
  absl::StatusOr<std::vector<pid_t>> pids = ListProcesses();
  if (!pids.ok()) return pids.status();
  ProcessTable table;
  for (pid_t pid : *pids) {
    absl::StatusOr<std::optional<ProcessStat>> found = FindVisible(pid);
    if (!found.ok()) return found.status();
    if (found->has_value()) table.emplace(pid, *std::move(*found));
  }
  absl::Status read = ReadOrphansAgain(&table);
  if (!read.ok()) return read;
  std::unordered_multimap<pid_t, const ProcessStat*> children;
  for (const auto& [pid, stat] : table) children.emplace(stat.parent, &stat);
  std::vector<ProcessStat> descendants;
  std::vector<pid_t> parents = ancestors;
  while (!parents.empty()) {
    pid_t parent = parents.back();
    parents.pop_back();
    // Nobody's parent is the parent of all.
    if (parent <= 0) continue;
    auto known = table.find(parent);
    auto [child, end] = children.equal_range(parent);
    for (; child != end; ++child) {
      const ProcessStat& stat = *child->second;
      // Older than its parent is who was read before that pid was reused.
      if (known != table.end() && stat.start_time < known->second.start_time) {
        continue;
      }
      bool is_ancestor = std::find(ancestors.begin(), ancestors.end(),
                                   stat.pid) != ancestors.end();
      if (is_ancestor) continue;
      parents.push_back(stat.pid);
      if (!stat.IsDead()) descendants.push_back(stat);
    }
  }
  return descendants;
}

std::optional<std::string> ParseCgroupOfProcess(const std::string& text) {
  size_t start = text.compare(0, 3, "0::") == 0 ? 3 : text.find("\n0::");
  if (start == std::string::npos) return std::nullopt;
  if (start != 3) start += 4;
  size_t end = text.find('\n', start);
  if (end == std::string::npos) end = text.size();
  if (end == start) return std::nullopt;
  return text.substr(start, end - start);
}

absl::StatusOr<std::string> ReadCgroupOfProcess(pid_t pid) {
  std::string path = ProcPath(pid, "cgroup");
  absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, path, path);
  if (!text.ok()) return text.status();
  std::optional<std::string> cgroup = ParseCgroupOfProcess(*text);
  if (!cgroup.has_value()) {
    return absl::NotFoundError(
        absl::StrCat(path, " has no 0:: line: no cgroup v2 here"));
  }
  return *cgroup;
}

}  // namespace treekill::kernel
