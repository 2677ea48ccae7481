// How Processes are found, and which of them are left alone.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/containment/placement.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/process_directory.h"
#include "treekill/processes_impl.h"

namespace treekill {
namespace {

using containment::FoundProcess;
using containment::GatheredHold;

constexpr pid_t kInit = 1;

constexpr char kSpareInit[] =
    "to end everything, shut the machine (or the container) down";

std::string NameOf(const kernel::ProcessStat& process) {
  return absl::StrCat("process ", process.pid, " (", process.comm, ")");
}

std::string ParentOf(const kernel::ProcessStat& process) {
  std::optional<kernel::ProcessStat> parent =
      kernel::ReadProcessStat(process.parent);
  if (process.parent != 0 && parent.has_value()) {
    return absl::StrCat(parent->pid, " (", parent->comm, ")");
  }
  return absl::StrCat(process.parent);
}

absl::Status HasEndedAlready(const kernel::ProcessStat& zombie) {
  return absl::NotFoundError(
      absl::StrCat(NameOf(zombie), " has ended; its parent ", ParentOf(zombie),
                   " has not waited for it"));
}

// Of a process or thread.
absl::StatusOr<kernel::ProcessStatus> StatusOf(pid_t pid) {
  absl::StatusOr<kernel::ProcessDirectory> directory =
      kernel::ProcessDirectory::Open(pid);
  if (!directory.ok()) return directory.status();
  return directory->Status();
}

absl::Status NotAllowed(const kernel::ProcessStat& process) {
  absl::StatusOr<kernel::ProcessStatus> status = StatusOf(process.pid);
  return absl::PermissionDeniedError(absl::StrCat(
      NameOf(process), " is of ",
      status.ok() ? absl::StrCat("uid ", status->real_uid) : "another user",
      ", and uid ", getuid(), " may not signal it; run as root"));
}

absl::Status Hides(pid_t pid) {
  return absl::PermissionDeniedError(absl::StrCat(
      "process ", pid,
      " hides from this user (/proc is mounted with hidepid); run as root"));
}

// Why a process that cannot be opened is none.
absl::Status NoSuchProcess(pid_t pid) {
  absl::StatusOr<kernel::ProcessStatus> status = StatusOf(pid);
  if (!status.ok() || status->process == pid) {
    return absl::NotFoundError(absl::StrCat("no process ", pid));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(pid, " is a thread of process ", status->process,
                   ", and no process; name that"));
}

absl::Status CheckTreeIsNotOurs(pid_t pid) {
  if (pid == kInit) {
    return absl::FailedPreconditionError(
        absl::StrCat("process 1 is the ancestor of all; ", kSpareInit));
  }
  absl::StatusOr<std::vector<kernel::ProcessStat>> ancestry =
      kernel::ListAncestry();
  if (!ancestry.ok()) return ancestry.status();
  for (const kernel::ProcessStat& process : *ancestry) {
    if (process.pid != pid) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        NameOf(process), " is treekill itself",
        pid == getpid() ? "" : " or an ancestor of it",
        ", which would be ended, too; start treekill from elsewhere"));
  }
  return absl::OkStatus();
}

// Holds the process, if it may be ended.
absl::StatusOr<FoundProcess> Open(pid_t pid) {
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(pid);
  int error = kernel::StatusErrno(pidfd.status());
  // The last two are of a thread.
  if (absl::IsNotFound(pidfd.status()) || error == EINVAL || error == ENOENT) {
    return NoSuchProcess(pid);
  }
  if (!pidfd.ok()) return pidfd.status();
  absl::StatusOr<std::optional<kernel::ProcessStat>> stat =
      kernel::FindProcess(pid);
  if (absl::IsPermissionDenied(stat.status())) return Hides(pid);
  if (!stat.ok()) return stat.status();
  if (stat->has_value() && (*stat)->IsDead()) return HasEndedAlready(**stat);
  // Else what was read may be of the next one that has its number.
  if (kernel::HasEnded(pidfd->get())) {
    stat = kernel::FindProcess(pid);
    bool is_zombie = stat.ok() && stat->has_value() && (*stat)->IsDead();
    return is_zombie ? HasEndedAlready(**stat) : NoSuchProcess(pid);
  }
  if (!stat->has_value()) return Hides(pid);
  if ((*stat)->is_kernel_thread) {
    return absl::FailedPreconditionError(absl::StrCat(
        NameOf(**stat), " is a thread of the kernel, and takes no signals"));
  }
  if (!kernel::MaySignal(pidfd->get(), pid)) return NotAllowed(**stat);
  return FoundProcess{**std::move(stat), *std::move(pidfd)};
}

// Why there is nobody in it.
absl::Status NobodyInGroup(pid_t group) {
  absl::StatusOr<std::vector<kernel::ProcessStat>> members =
      kernel::ListProcessGroup(group);
  if (!members.ok()) return members.status();
  if (members->empty()) {
    return absl::NotFoundError(absl::StrCat("no process group ", group));
  }
  return absl::NotFoundError(
      absl::StrCat("nobody of process group ", group,
                   " is alive: ", HasEndedAlready(members->front()).message()));
}

// Who would be ended with it: "treekill itself", pid 1 or an ancestor of ours;
// "" for nobody.
absl::StatusOr<std::string> WhoIsNotToBeEnded(
    const std::function<bool(pid_t)>& holds) {
  if (holds(getpid())) return "treekill itself";
  if (holds(kInit)) return "process 1";
  absl::StatusOr<std::vector<kernel::ProcessStat>> ancestry =
      kernel::ListAncestry();
  if (!ancestry.ok()) return ancestry.status();
  for (const kernel::ProcessStat& process : *ancestry) {
    if (!holds(process.pid)) continue;
    return absl::StrCat(NameOf(process), ", an ancestor of treekill");
  }
  return "";
}

absl::Status CheckGroupIsNotOurs(pid_t group) {
  absl::StatusOr<std::string> who = WhoIsNotToBeEnded(
      [group](pid_t pid) { return kernel::ProcessGroupOf(pid) == group; });
  if (!who.ok() || who->empty()) return who.status();
  return absl::FailedPreconditionError(
      absl::StrCat("process group ", group, " holds ", *who,
                   ", which would be ended, too; start treekill from "
                   "elsewhere"));
}

// When it is nobody's whom we may signal.
absl::Status CheckAnyIsAllowed(const GatheredHold& hold) {
  const FoundProcess* refused = nullptr;
  for (const auto& [pid, process] : hold.found()) {
    if (!process.pidfd.valid() || kernel::MaySignal(process.pidfd.get(), pid)) {
      return absl::OkStatus();
    }
    refused = &process;
  }
  return refused == nullptr ? absl::OkStatus() : NotAllowed(refused->stat);
}

absl::StatusOr<kernel::Cgroup> OpenByEitherPath(const std::string& path) {
  absl::StatusOr<kernel::Cgroup> directory = kernel::Cgroup::Open(path);
  if (directory.ok() || !absl::StartsWith(path, "/")) return directory;
  absl::StatusOr<kernel::Cgroup> cgroup = containment::OpenCgroup(path);
  if (cgroup.ok()) return cgroup;
  return directory;
}

absl::Status CheckCgroupIsNotOurs(const kernel::Cgroup& cgroup,
                                  const std::vector<pid_t>& members) {
  absl::Status events = cgroup.OpenControl("cgroup.events", O_RDONLY).status();
  if (absl::IsNotFound(events)) {
    return absl::FailedPreconditionError(absl::StrCat(
        cgroup.path(), " is the root of all cgroups; ", kSpareInit));
  }
  absl::StatusOr<std::string> type =
      kernel::ReadFile(cgroup.fd(), "cgroup.type", cgroup.path());
  if (type.ok() && *type == "threaded\n") {
    return absl::InvalidArgumentError(absl::StrCat(
        cgroup.path(),
        " holds threads, not processes (cgroup.type: threaded); name the first "
        "cgroup above it that is not threaded"));
  }
  absl::StatusOr<std::string> who = WhoIsNotToBeEnded([&](pid_t pid) {
    return std::find(members.begin(), members.end(), pid) != members.end();
  });
  if (!who.ok() || who->empty()) return who.status();
  return absl::FailedPreconditionError(
      absl::StrCat("cgroup ", cgroup.path(), " holds ", *who,
                   ", which would be ended, too; start treekill from "
                   "elsewhere"));
}

}  // namespace

absl::StatusOr<Processes> Processes::OfTree(pid_t pid) {
  if (pid <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(pid, " is no process"));
  }
  absl::Status may = CheckTreeIsNotOurs(pid);
  if (!may.ok()) return may;
  absl::StatusOr<FoundProcess> root = Open(pid);
  if (!root.ok()) return root.status();
  std::string name = NameOf(root->stat);
  return Processes(std::make_unique<Impl>(
      std::move(name), containment::HoldProcessTree(*std::move(root))));
}

absl::StatusOr<Processes> Processes::OfGroup(pid_t group) {
  if (group <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(group, " is no process group"));
  }
  absl::Status may = CheckGroupIsNotOurs(group);
  if (!may.ok()) return may;
  absl::StatusOr<std::unique_ptr<GatheredHold>> hold =
      containment::HoldMembersOfGroup(group);
  if (absl::IsNotFound(hold.status())) return NobodyInGroup(group);
  if (!hold.ok()) return hold.status();
  absl::Status allowed = CheckAnyIsAllowed(**hold);
  if (!allowed.ok()) return allowed;
  return Processes(std::make_unique<Impl>(absl::StrCat("process group ", group),
                                          *std::move(hold)));
}

absl::StatusOr<Processes> Processes::OfCgroup(const std::string& path) {
  absl::StatusOr<kernel::Cgroup> cgroup = OpenByEitherPath(path);
  if (absl::IsNotFound(cgroup.status())) {
    return absl::NotFoundError(absl::StrCat("no cgroup ", path));
  }
  // What is there is no cgroup v2, or no directory.
  if (absl::IsFailedPrecondition(cgroup.status())) {
    return absl::InvalidArgumentError(cgroup.status().message());
  }
  if (!cgroup.ok()) return cgroup.status();
  absl::StatusOr<kernel::CgroupMembers> members =
      cgroup->Members(kernel::Cgroup::Modes::kLeave);
  if (!members.ok()) return members.status();
  absl::Status may = CheckCgroupIsNotOurs(*cgroup, members->pids);
  if (!may.ok()) return may;
  absl::StatusOr<kernel::UniqueFd> copy =
      cgroup->OpenControl(".", O_PATH | O_DIRECTORY);
  if (!copy.ok()) return copy.status();
  absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
      containment::HoldForeign(
          kernel::Cgroup::Adopt(*std::move(copy), cgroup->path()));
  if (absl::IsPermissionDenied(hold.status())) {
    return kernel::WithHint(
        hold.status(), absl::StrCat("it is of uid ", cgroup->owner(),
                                    ", and its processes cannot be ended by "
                                    "uid ",
                                    geteuid(), "; run as root"));
  }
  if (!hold.ok()) return hold.status();
  absl::StatusOr<bool> empty = (*hold)->IsEmpty();
  if (!empty.ok()) return empty.status();
  std::string name = absl::StrCat("cgroup ", cgroup->path());
  if (*empty) {
    return absl::NotFoundError(absl::StrCat(name, " has no processes"));
  }
  return Processes(std::make_unique<Impl>(std::move(name), *std::move(hold),
                                          *std::move(cgroup)));
}

}  // namespace treekill
