#include "treekill/kernel/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) {
    int error = errno;
    close(fd_);
    errno = error;
  }
  fd_ = fd;
}

absl::StatusOr<UniqueFd> OpenFile(int directory, const std::string& name,
                                  int flags, const std::string& shown) {
  UniqueFd fd(Openat(directory, name.c_str(), flags));
  if (!fd.valid()) {
    return ErrnoStatus(errno, "open", absl::StrCat("cannot open ", shown));
  }
  return fd;
}

absl::StatusOr<UniqueFd> Duplicate(int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!copy.valid()) {
    return ErrnoStatus(errno, "fcntl", "cannot reserve a descriptor");
  }
  return copy;
}

absl::StatusOr<std::string> ReadFile(int directory, const std::string& name,
                                     const std::string& shown) {
  absl::StatusOr<UniqueFd> fd = OpenFile(directory, name, O_RDONLY, shown);
  if (!fd.ok()) return fd.status();
  return ReadToEnd(fd->get(), name, shown);
}

absl::StatusOr<std::string> ReadToEnd(int fd, const std::string& name,
                                      const std::string& shown) {
  std::string text;
  size_t size = 0;
  while (true) {
    text.resize(size + 4096);
    ssize_t count = Read(fd, &text[size], 4096, name.c_str());
    if (count < 0) {
      return ErrnoStatus(errno, "read", absl::StrCat("cannot read ", shown));
    }
    size += count;
    if (count == 0) break;
  }
  text.resize(size);
  return text;
}

absl::StatusOr<UniqueFd> MakeMemoryFile(const std::string& name,
                                        const std::string& content) {
  UniqueFd fd(AboveStandardStreams(
      FaultInjected("memfd_create") ? -1
                                    : memfd_create(name.c_str(), MFD_CLOEXEC)));
  if (!fd.valid()) {
    return ErrnoStatus(errno, "memfd_create", "cannot make a file in memory");
  }
  for (size_t written = 0; written < content.size();) {
    ssize_t count = Write(fd.get(), content.data() + written,
                          content.size() - written, name.c_str());
    if (count < 0) {
      return ErrnoStatus(errno, "write", "cannot fill a file in memory");
    }
    written += count;
  }
  lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

absl::Status WriteFile(int directory, const std::string& name,
                       const std::string& text, const std::string& shown) {
  absl::StatusOr<UniqueFd> fd = OpenFile(directory, name, O_WRONLY, shown);
  if (!fd.ok()) return fd.status();
  if (Write(fd->get(), text.data(), text.size(), name.c_str()) < 0) {
    return ErrnoStatus(errno, "write", absl::StrCat("cannot write ", shown));
  }
  return absl::OkStatus();
}

bool DirectoryExists(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool IsWritable(const std::string& path) {
  return faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
}

std::optional<std::string> ReadAttribute(const std::string& path,
                                         const std::string& name) {
  char value[256];
  ssize_t size = getxattr(path.c_str(), name.c_str(), value, sizeof(value));
  if (size < 0) return std::nullopt;
  return std::string(value, size);
}

}  // namespace treekill::kernel
