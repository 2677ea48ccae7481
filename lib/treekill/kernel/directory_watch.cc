#include "treekill/kernel/directory_watch.h"

#include <sys/inotify.h>

#include <cerrno>
#include <climits>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {

absl::StatusOr<DirectoryWatch> DirectoryWatch::Create(
    const std::string& directory) {
  UniqueFd fd(AboveStandardStreams(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)));
  if (!fd.valid()) {
    return ErrnoStatus(errno, "inotify_init1",
                       absl::StrCat("cannot watch ", directory));
  }
  if (inotify_add_watch(fd.get(), directory.c_str(),
                        IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
    return ErrnoStatus(errno, "inotify_add_watch",
                       absl::StrCat("cannot watch ", directory));
  }
  return DirectoryWatch(std::move(fd));
}

void DirectoryWatch::Clear() const {
  // One event at least.
  char events[16 * (sizeof(inotify_event) + NAME_MAX + 1)];
  while (Read(fd_.get(), events, sizeof(events)) > 0) {
  }
}

}  // namespace treekill::kernel
