#include "treekill/kernel/cgroup_events.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

std::string Shown(const Cgroup& cgroup) {
  return absl::StrCat(cgroup.path(), "/cgroup.events");
}

absl::StatusOr<CgroupEvents> ReadEvents(int fd, const std::string& shown) {
  char text[256];
  ssize_t size = Pread(fd, text, sizeof(text), 0, "cgroup.events");
  if (size < 0) {
    return ErrnoStatus(errno, "read", absl::StrCat("cannot read ", shown));
  }
  absl::string_view lines(text, size);
  return CgroupEvents{.populated = absl::StrContains(lines, "populated 1"),
                      .frozen = absl::StrContains(lines, "frozen 1")};
}

absl::StatusOr<bool> Await(
    const Cgroup& cgroup, absl::Duration until,
    const std::function<bool(const CgroupEvents&)>& is_wanted) {
  absl::StatusOr<UniqueFd> fd = cgroup.OpenControl("cgroup.events", O_RDONLY);
  if (!fd.ok()) return fd.status();
  while (true) {
    absl::StatusOr<CgroupEvents> events = ReadEvents(fd->get(), Shown(cgroup));
    if (!events.ok()) return events.status();
    if (is_wanted(*events)) return true;
    if (!PollUntil(fd->get(), POLLPRI, until)) return false;
  }
}

}  // namespace

absl::StatusOr<CgroupEvents> ReadCgroupEvents(const Cgroup& cgroup) {
  absl::StatusOr<UniqueFd> fd = cgroup.OpenControl("cgroup.events", O_RDONLY);
  if (!fd.ok()) return fd.status();
  return ReadEvents(fd->get(), Shown(cgroup));
}

absl::StatusOr<bool> ReadPopulated(int events_fd, const std::string& shown) {
  absl::StatusOr<CgroupEvents> events = ReadEvents(events_fd, shown);
  if (absl::IsNotFound(events.status())) return false;
  if (!events.ok()) return events.status();
  return events->populated;
}

absl::StatusOr<bool> AwaitEmpty(const Cgroup& cgroup, absl::Duration until) {
  absl::StatusOr<bool> empty =
      Await(cgroup, until,
            [](const CgroupEvents& events) { return !events.populated; });
  if (absl::IsNotFound(empty.status())) return true;
  return empty;
}

absl::StatusOr<bool> AwaitFrozen(const Cgroup& cgroup, bool frozen,
                                 absl::Duration until) {
  return Await(cgroup, until, [frozen](const CgroupEvents& events) {
    return events.frozen == frozen;
  });
}

}  // namespace treekill::kernel
