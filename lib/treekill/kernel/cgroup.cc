#include "treekill/kernel/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

// ENODEV and ENOENT are how kernfs says that the cgroup was removed.
bool MeansRemoved(int error) { return error == ENODEV || error == ENOENT; }

uint64_t InodeOf(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

// Opens the subdirectory `name`; unless its mode is to be left alone, giving
// ourselves the permission when its maker took it away.
UniqueFd OpenSubdirectory(int parent, const std::string& name,
                          bool leave_mode = false) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  UniqueFd fd(Openat(parent, name.c_str(), kFlags));
  if (!fd.valid() && errno == EACCES && !leave_mode &&
      fchmodat(parent, name.c_str(), 0700, 0) == 0) {
    fd.reset(Openat(parent, name.c_str(), kFlags));
  }
  return fd;
}

absl::StatusOr<std::vector<std::string>> ListSubdirectories(int fd) {
  UniqueFd copy(Openat(fd, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> directory(
      copy.valid() ? fdopendir(copy.get()) : nullptr, closedir);
  if (directory == nullptr) {
    return ErrnoStatus(errno, "open", "cannot list nested cgroups");
  }
  copy.release();
  std::vector<std::string> names;
  while (dirent* entry = readdir(directory.get())) {
    std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") {
      names.push_back(name);
    }
  }
  return names;
}

// Walks a cgroup and all below it, depth first. It goes up by "..", and so
// holds two descriptors however deep a command has nested its cgroups. Cgroups
// that go away meanwhile are passed over.
class Walk final {
 public:
  // On the way down, the root included. It may take some of the `children`, the
  // names of the cgroups right below, out of the walk.
  using Enter = std::function<absl::Status(int directory,
                                           std::vector<std::string>* children)>;
  // When all below `name` has been seen; not for the root.
  using Leave = std::function<absl::Status(int parent, const std::string&)>;

  Walk(const Cgroup& root, Enter enter, Leave leave)
      : root_(root), enter_(std::move(enter)), leave_(std::move(leave)) {}

  // Passes over what we may not read; without, we give ourselves the right.
  void LeaveModesAlone() { leaves_modes_ = true; }

  // Of where the walk is.
  std::string Path() const {
    std::string path = root_.path();
    for (size_t i = 1; i < levels_.size(); ++i) {
      absl::StrAppend(&path, "/", levels_[i].name);
    }
    return path;
  }

  absl::Status Run() {
    here_.reset(Openat(root_.fd(), ".", O_RDONLY | O_DIRECTORY));
    if (!here_.valid()) return Failed();
    absl::Status status = Arrive("");
    while (status.ok() && !levels_.empty()) {
      status = levels_.back().children.empty() ? GoUp() : GoDown();
    }
    return status;
  }

 private:
  struct Level {
    std::string name;
    std::vector<std::string> children;
  };

  // Of the open() that has just failed.
  absl::Status Failed() const {
    if (MeansRemoved(errno)) return absl::OkStatus();
    return ErrnoStatus(errno, "open",
                       absl::StrCat("cannot walk cgroup ", root_.path()));
  }

  absl::Status Arrive(std::string name) {
    absl::StatusOr<std::vector<std::string>> children =
        ListSubdirectories(here_.get());
    if (!children.ok()) return children.status();
    levels_.push_back({std::move(name), *std::move(children)});
    return enter_(here_.get(), &levels_.back().children);
  }

  absl::Status GoDown() {
    std::string name = std::move(levels_.back().children.back());
    levels_.back().children.pop_back();
    UniqueFd child = OpenSubdirectory(here_.get(), name, leaves_modes_);
    if (!child.valid() && leaves_modes_ && errno == EACCES) {
      return absl::OkStatus();
    }
    if (!child.valid()) return Failed();
    here_ = std::move(child);
    return Arrive(std::move(name));
  }

  absl::Status GoUp() {
    std::string name = std::move(levels_.back().name);
    levels_.pop_back();
    if (levels_.empty()) return absl::OkStatus();
    here_.reset(Openat(here_.get(), "..", O_RDONLY | O_DIRECTORY));
    if (!here_.valid()) {
      levels_.clear();
      return Failed();
    }
    return leave_(here_.get(), name);
  }

  const Cgroup& root_;
  bool leaves_modes_ = false;
  Enter enter_;
  Leave leave_;
  UniqueFd here_;
  std::vector<Level> levels_;
};

absl::Status EnterAll(int, std::vector<std::string>*) {
  return absl::OkStatus();
}

absl::Status LeaveNothing(int, const std::string&) { return absl::OkStatus(); }

absl::Status ReadMembers(int directory, const std::string& shown,
                         CgroupMembers* members) {
  members->cgroup_ids.insert(InodeOf(directory));
  absl::StatusOr<std::string> text =
      ReadFile(directory, "cgroup.procs", absl::StrCat(shown, "/cgroup.procs"));
  if (!text.ok()) {
    int error = StatusErrno(text.status());
    // EOPNOTSUPP: a threaded cgroup. Its members show in the domain above it.
    if (MeansRemoved(error) || error == EOPNOTSUPP) return absl::OkStatus();
    return text.status();
  }
  for (absl::string_view line :
       absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) members->pids.push_back(pid);
  }
  return absl::OkStatus();
}

absl::Status Freeze(int directory, bool frozen, const std::string& shown) {
  absl::Status status =
      WriteFile(directory, "cgroup.freeze", frozen ? "1" : "0",
                absl::StrCat(shown, "/cgroup.freeze"));
  return MeansRemoved(StatusErrno(status)) ? absl::OkStatus() : status;
}

absl::Status Rmdir(int parent, const std::string& name,
                   const std::string& shown) {
  if (Rmdirat(parent, name.c_str()) == 0 || MeansRemoved(errno)) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "rmdir",
                     absl::StrCat("cannot remove cgroup ", shown));
}

}  // namespace

absl::StatusOr<Cgroup> Cgroup::Open(const std::string& path) {
  absl::StatusOr<UniqueFd> fd =
      OpenFile(AT_FDCWD, path, O_PATH | O_DIRECTORY, path);
  if (!fd.ok()) return fd.status();
  struct statfs status;
  if (fstatfs(fd->get(), &status) < 0) {
    return ErrnoStatus(errno, "fstatfs", absl::StrCat("cannot look at ", path));
  }
  if (status.f_type != CGROUP2_SUPER_MAGIC) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not a cgroup v2 directory"));
  }
  return Cgroup(*std::move(fd), path);
}

absl::StatusOr<Cgroup> Cgroup::MakeChild(const std::string& name) const {
  std::string path = absl::StrCat(path_, "/", name);
  if (Mkdirat(fd(), name.c_str(), 0755) < 0) {
    return ErrnoStatus(errno, "mkdir",
                       absl::StrCat("cannot make cgroup ", path));
  }
  absl::StatusOr<UniqueFd> directory =
      OpenFile(fd(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW, path);
  if (!directory.ok()) {
    Rmdirat(fd(), name.c_str());
    return directory.status();
  }
  return Cgroup(*std::move(directory), path);
}

absl::StatusOr<Cgroup> Cgroup::OpenChild(const std::string& name) const {
  std::string path = absl::StrCat(path_, "/", name);
  UniqueFd directory = OpenSubdirectory(fd(), name);
  if (!directory.valid()) {
    return ErrnoStatus(errno, "open", absl::StrCat("cannot open ", path));
  }
  return Cgroup(std::move(directory), path);
}

absl::Status Cgroup::SetAttribute(const std::string& name,
                                  const std::string& value) const {
  return SetCgroupAttribute(fd(), name, value, path_);
}

absl::StatusOr<std::optional<std::string>> Cgroup::Attribute(
    const std::string& name) const {
  absl::StatusOr<UniqueFd> directory =
      OpenFile(fd(), ".", O_RDONLY | O_DIRECTORY, path_);
  if (!directory.ok()) return directory.status();
  char value[256];
  ssize_t size =
      fgetxattr(directory->get(), name.c_str(), value, sizeof(value));
  if (size >= 0) return std::string(value, size);
  if (errno == ENODATA || errno == EOPNOTSUPP) return std::nullopt;
  return ErrnoStatus(errno, "getxattr",
                     absl::StrCat("cannot read a mark of cgroup ", path_));
}

bool Cgroup::IsWritable() const {
  return faccessat(fd(), ".", W_OK, AT_EACCESS) == 0;
}

absl::StatusOr<UniqueFd> Cgroup::OpenControl(const std::string& file,
                                             int flags) const {
  return OpenFile(fd(), file, flags, absl::StrCat(path_, "/", file));
}

absl::StatusOr<CgroupMembers> Cgroup::Members(Modes modes) const {
  CgroupMembers members;
  auto read = [&](int directory, std::vector<std::string>*) {
    return ReadMembers(directory, path_, &members);
  };
  Walk walk(*this, read, LeaveNothing);
  if (modes == Modes::kLeave) walk.LeaveModesAlone();
  absl::Status status = walk.Run();
  if (!status.ok()) return status;
  return members;
}

absl::Status Cgroup::Thaw() const {
  auto thaw = [&](int directory, std::vector<std::string>*) {
    return Freeze(directory, false, path_);
  };
  return Walk(*this, thaw, LeaveNothing).Run();
}

absl::Status Cgroup::SetFrozen(bool frozen) const {
  return Freeze(fd(), frozen, path_);
}

absl::Status Cgroup::VisitBelow(const Visitor& visit) const {
  Walk* walk = nullptr;
  auto enter = [&](int directory, std::vector<std::string>* children) {
    if (children->empty()) return absl::OkStatus();
    absl::StatusOr<UniqueFd> copy =
        OpenFile(directory, ".", O_PATH | O_DIRECTORY, walk->Path());
    if (!copy.ok()) return copy.status();
    Cgroup here = Adopt(*std::move(copy), walk->Path());
    std::vector<std::string> inside;
    for (std::string& name : *children) {
      absl::StatusOr<bool> enters = visit(here, name);
      if (!enters.ok()) return enters.status();
      if (*enters) inside.push_back(std::move(name));
    }
    *children = std::move(inside);
    return absl::OkStatus();
  };
  Walk visiting(*this, enter, LeaveNothing);
  visiting.LeaveModesAlone();
  walk = &visiting;
  return visiting.Run();
}

absl::StatusOr<Cgroup> Cgroup::OpenBelow(const std::string& path) const {
  absl::string_view names = path;
  absl::ConsumePrefix(&names, path_);
  absl::StatusOr<UniqueFd> here =
      OpenFile(fd(), ".", O_PATH | O_DIRECTORY, path_);
  // Not in one step, which a deep nest would be too long for.
  for (absl::string_view name : absl::StrSplit(names, '/', absl::SkipEmpty())) {
    if (!here.ok()) break;
    here = OpenFile(here->get(), std::string(name),
                    O_PATH | O_DIRECTORY | O_NOFOLLOW, path);
  }
  if (!here.ok()) return here.status();
  return Adopt(*std::move(here), path);
}

absl::Status Cgroup::RemoveChild(const std::string& name) const {
  std::string path = absl::StrCat(path_, "/", name);
  absl::Status status = Rmdir(fd(), name, path);
  if (!IsBusy(status)) return status;
  // By name: the command may have put another in the place of what we made.
  absl::StatusOr<UniqueFd> directory =
      OpenFile(fd(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW, path);
  if (!directory.ok()) return directory.status();
  Cgroup child(*std::move(directory), path);
  auto remove = [&](int parent, const std::string& nested) {
    return Rmdir(parent, nested, absl::StrCat(path, "/.../", nested));
  };
  absl::Status below = Walk(child, EnterAll, remove).Run();
  if (!below.ok()) return below;
  return Rmdir(fd(), name, path);
}

uid_t Cgroup::owner() const {
  struct stat status;
  return fstat(fd(), &status) == 0 ? status.st_uid : static_cast<uid_t>(-1);
}

uint64_t Cgroup::id() const { return InodeOf(fd()); }

absl::Status SetCgroupAttribute(int cgroup_fd, const std::string& name,
                                const std::string& value,
                                const std::string& shown) {
  UniqueFd directory(Openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY));
  if (directory.valid() && SetAttribute(directory.get(), name.c_str(),
                                        value.data(), value.size()) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "setxattr",
                     absl::StrCat("cannot mark cgroup ", shown));
}

absl::Status MoveToCgroup(pid_t pid, int cgroup_fd, const std::string& shown) {
  return WriteFile(cgroup_fd, "cgroup.procs", absl::StrCat(pid),
                   absl::StrCat(shown, "/cgroup.procs"));
}

bool IsBusy(const absl::Status& status) {
  int error = StatusErrno(status);
  return error == EBUSY || error == ENOTEMPTY;
}

absl::Status WriteKill(int kill_fd, const std::string& shown) {
  if (Write(kill_fd, "1", 1, "cgroup.kill") >= 0 || MeansRemoved(errno)) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "write",
                     absl::StrCat("cannot kill through ", shown));
}

}  // namespace treekill::kernel
