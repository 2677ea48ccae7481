#include "treekill/kernel/subreaper.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {

namespace {

// Nobody is missed as long as nobody is reaped meanwhile, which is this
// process's to do. kNotFound where the kernel has no such files
// (CONFIG_PROC_CHILDREN).
absl::StatusOr<std::vector<pid_t>> ListChildrenByThread() {
  std::unique_ptr<DIR, int (*)(DIR*)> threads(opendir("/proc/self/task"),
                                              closedir);
  if (threads == nullptr) {
    return ErrnoStatus(errno, "open", "cannot open /proc/self/task");
  }
  std::vector<pid_t> children;
  while (dirent* thread = readdir(threads.get())) {
    if (thread->d_name[0] == '.') continue;
    std::string path =
        absl::StrCat("/proc/self/task/", thread->d_name, "/children");
    absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, path, path);
    if (!text.ok()) return text.status();
    for (absl::string_view word :
         absl::StrSplit(*text, ' ', absl::SkipEmpty())) {
      pid_t pid = 0;
      if (absl::SimpleAtoi(word, &pid)) children.push_back(pid);
    }
  }
  return children;
}

}  // namespace

absl::Status BecomeSubreaper() {
  if (FaultInjected("prctl") || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
    return ErrnoStatus(errno, "prctl", "cannot adopt orphans");
  }
  return absl::OkStatus();
}

absl::StatusOr<Reaped> ReapOrphans(const std::function<bool(pid_t)>& keep) {
  // An orphan has SIGCHLD as its exit signal, whatever it had before. Without
  // __WALL a child that was made with none and has not execed is passed over:
  // see CloneParked().
  constexpr int kOptions = WEXITED | WNOHANG;
  Reaped reaped;
  while (true) {
    siginfo_t info{};
    if (Waitid(P_ALL, 0, &info, kOptions | WNOWAIT) < 0) {
      if (errno == ECHILD) return reaped;
      return ErrnoStatus(errno, "waitid", "cannot reap orphans");
    }
    // A dead child that is kept hides those behind it until it is reaped.
    if (info.si_pid == 0 || keep(info.si_pid)) {
      reaped.any_left = true;
      return reaped;
    }
    reaped.pids.push_back(info.si_pid);
    Waitid(P_PID, info.si_pid, &info, kOptions);
  }
}

absl::StatusOr<std::vector<pid_t>> ListLiveChildren() {
  absl::Status seen = CheckProc();
  if (!seen.ok()) return seen;
  absl::StatusOr<std::vector<pid_t>> candidates = ListChildrenByThread();
  // CONFIG_PROC_CHILDREN is not in every kernel.
  if (absl::IsNotFound(candidates.status())) candidates = ListProcesses();
  if (!candidates.ok()) return candidates.status();
  std::vector<pid_t> children;
  for (pid_t pid : *candidates) {
    std::optional<ProcessStat> stat = ReadProcessStat(pid);
    if (stat.has_value() && stat->parent == getpid() && !stat->IsDead()) {
      children.push_back(pid);
    }
  }
  return children;
}

}  // namespace treekill::kernel
