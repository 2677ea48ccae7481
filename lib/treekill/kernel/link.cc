#include "treekill/kernel/link.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {

absl::StatusOr<std::string> ReadLinkOf(uid_t owner, const std::string& path) {
  struct stat status;
  char target[PATH_MAX];
  ssize_t size = -1;
  if (lstat(path.c_str(), &status) == 0) {
    if (status.st_uid != owner) {
      return absl::PermissionDeniedError(
          absl::StrCat(path, " is user ", status.st_uid, "'s"));
    }
    size = readlink(path.c_str(), target, sizeof(target));
  }
  if (size < 0) {
    return ErrnoStatus(errno, "readlink", absl::StrCat("cannot read ", path));
  }
  return std::string(target, size);
}

absl::Status SetLink(const std::string& path, const std::string& target) {
  std::string directory = path.substr(0, path.rfind('/'));
  std::string made = absl::StrCat(path, ".", getpid());
  // Of one that was killed here.
  unlink(made.c_str());
  bool there =
      Mkdirat(AT_FDCWD, directory.c_str(), 0755) == 0 || errno == EEXIST;
  if (there && symlink(target.c_str(), made.c_str()) == 0) {
    if (rename(made.c_str(), path.c_str()) == 0) return absl::OkStatus();
    int error = errno;
    unlink(made.c_str());
    errno = error;
  }
  return ErrnoStatus(errno, "symlink", absl::StrCat("cannot make ", path));
}

void RemoveLink(const std::string& path, const std::string& target) {
  absl::StatusOr<std::string> said = ReadLinkOf(geteuid(), path);
  if (said.ok() && *said == target) unlink(path.c_str());
}

}  // namespace treekill::kernel
