#include "treekill/kernel/process_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

// More than a stack of 64 entries, MAX_STACK_TRACE_DEPTH, takes.
constexpr size_t kLongestStack = 16 << 10;

// readlinkat(2); "" when that fails.
std::string LinkTarget(int directory, const char* name) {
  char target[4096];
  ssize_t size = readlinkat(directory, name, target, sizeof(target));
  return size < 0 ? "" : std::string(target, size);
}

}  // namespace

std::optional<ProcessStatus> ParseProcessStatus(const std::string& text) {
  ProcessStatus status;
  bool has_uid = false;
  bool has_process = false;
  bool has_signals = false;
  bool has_handlers = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, "Uid:")) {
      std::vector<absl::string_view> ids =
          absl::StrSplit(line, '\t', absl::SkipEmpty());
      has_uid = ids.size() == 4 && absl::SimpleAtoi(ids[0], &status.real_uid) &&
                absl::SimpleAtoi(ids[1], &status.uid);
    } else if (absl::ConsumePrefix(&line, "Tgid:")) {
      has_process = absl::SimpleAtoi(line, &status.process);
    } else if (absl::ConsumePrefix(&line, "NSpid:")) {
      for (absl::string_view word :
           absl::StrSplit(line, '\t', absl::SkipEmpty())) {
        pid_t pid = 0;
        if (absl::SimpleAtoi(word, &pid)) status.namespace_pids.push_back(pid);
      }
    } else if (absl::ConsumePrefix(&line, "SigIgn:")) {
      has_signals = absl::SimpleHexAtoi(absl::StripAsciiWhitespace(line),
                                        &status.ignored_signals);
    } else if (absl::ConsumePrefix(&line, "SigCgt:")) {
      has_handlers = absl::SimpleHexAtoi(absl::StripAsciiWhitespace(line),
                                         &status.caught_signals);
    }
  }
  if (!has_process || !has_uid || !has_signals || !has_handlers) {
    return std::nullopt;
  }
  return status;
}

bool ProcessStatus::IsNamespaceInit() const {
  return IsInInnerNamespace() && namespace_pids.back() == 1;
}

absl::StatusOr<ProcessDirectory> ProcessDirectory::Open(pid_t pid) {
  std::string path = absl::StrCat("/proc/", pid);
  absl::StatusOr<UniqueFd> fd =
      OpenFile(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, path);
  if (!fd.ok()) return fd.status();
  return ProcessDirectory(pid, *std::move(fd));
}

std::string ProcessDirectory::Shown(const char* file) const {
  return absl::StrCat("/proc/", pid_, "/", file);
}

absl::StatusOr<std::string> ProcessDirectory::Read(const char* file) const {
  return ReadFile(fd_.get(), file, Shown(file));
}

absl::StatusOr<ProcessStat> ProcessDirectory::Stat() const {
  absl::StatusOr<std::string> text = Read("stat");
  if (!text.ok()) return text.status();
  std::optional<ProcessStat> stat = ParseProcessStat(*text);
  if (stat.has_value()) return *std::move(stat);
  return absl::InternalError(absl::StrCat("cannot understand ", Shown("stat")));
}

absl::StatusOr<ProcessStatus> ProcessDirectory::Status() const {
  absl::StatusOr<std::string> text = Read("status");
  if (!text.ok()) return text.status();
  std::optional<ProcessStatus> status = ParseProcessStatus(*text);
  if (status.has_value()) return *status;
  return absl::InternalError(
      absl::StrCat("cannot understand ", Shown("status")));
}

char ProcessDirectory::GoToLivingThread(const ProcessStat& stat) {
  if (stat.state != 'Z') return stat.state;
  absl::StatusOr<DirectoryStream> threads = List("task");
  if (!threads.ok()) return stat.state;
  while (dirent* entry = readdir(threads->get())) {
    pid_t number = 0;
    if (!absl::SimpleAtoi(entry->d_name, &number)) continue;
    absl::StatusOr<UniqueFd> fd =
        OpenFile(dirfd(threads->get()), entry->d_name, O_RDONLY | O_DIRECTORY,
                 Shown("task"));
    if (!fd.ok()) continue;
    ProcessDirectory thread(pid_, *std::move(fd));
    absl::StatusOr<ProcessStat> found = thread.Stat();
    if (!found.ok() || found->state == 'Z' || found->state == 'X') continue;
    *this = std::move(thread);
    return found->state;
  }
  return stat.state;
}

absl::StatusOr<ProcessDirectory::DirectoryStream> ProcessDirectory::List(
    const char* name) const {
  absl::StatusOr<UniqueFd> fd =
      OpenFile(fd_.get(), name, O_RDONLY | O_DIRECTORY, Shown(name));
  if (!fd.ok()) return fd.status();
  DirectoryStream directory(fdopendir(fd->get()), closedir);
  if (directory == nullptr) {
    return ErrnoStatus(errno, "open",
                       absl::StrCat("cannot list ", Shown(name)));
  }
  (void)fd->release();
  return directory;
}

absl::StatusOr<std::string> ProcessDirectory::ReadPatiently(
    const char* file, size_t limit, PatientReader* reader) const {
  std::string shown = Shown(file);
  absl::StatusOr<UniqueFd> fd = OpenFile(fd_.get(), file, O_RDONLY, shown);
  if (!fd.ok()) return fd.status();
  return reader->Read(fd->get(), limit, shown);
}

absl::StatusOr<std::string> ProcessDirectory::CommandLine(
    size_t limit, PatientReader* reader) const {
  return ReadPatiently("cmdline", limit, reader);
}

absl::StatusOr<std::string> ProcessDirectory::Cgroup() const {
  absl::StatusOr<std::string> text = Read("cgroup");
  if (!text.ok()) return text.status();
  return ParseCgroupOfProcess(*text).value_or("");
}

std::string ProcessDirectory::WaitChannel() const {
  absl::StatusOr<std::string> text = Read("wchan");
  return text.ok() && *text != "0" ? *text : std::string();
}

std::string ProcessDirectory::KernelStack(PatientReader* reader) const {
  absl::StatusOr<std::string> text =
      ReadPatiently("stack", kLongestStack, reader);
  return text.ok() ? *text : std::string();
}

absl::StatusOr<std::vector<OpenDescriptor>> ProcessDirectory::OpenFiles()
    const {
  absl::StatusOr<DirectoryStream> directory = List("fd");
  if (!directory.ok()) return directory.status();
  std::vector<OpenDescriptor> files;
  while (dirent* entry = readdir(directory->get())) {
    OpenDescriptor file;
    if (!absl::SimpleAtoi(entry->d_name, &file.fd)) continue;
    int parent = dirfd(directory->get());
    file.target = LinkTarget(parent, entry->d_name);
    if (file.target.empty()) continue;
    struct stat link;
    if (fstatat(parent, entry->d_name, &link, AT_SYMLINK_NOFOLLOW) == 0) {
      file.readable = (link.st_mode & S_IRUSR) != 0;
      file.writable = (link.st_mode & S_IWUSR) != 0;
    }
    files.push_back(std::move(file));
  }
  return files;
}

bool ProcessDirectory::MaySignal() const {
  return kernel::MaySignal(fd_.get(), pid_);
}

std::string TargetOfFd(int fd) {
  return LinkTarget(AT_FDCWD, absl::StrCat("/proc/self/fd/", fd).c_str());
}

}  // namespace treekill::kernel
