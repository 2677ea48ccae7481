#include "treekill/kernel/cgroup_events.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

// A poll that sleeps while the cgroup is removed may not be woken.
constexpr absl::Duration kLongestPoll = absl::Seconds(1);

absl::StatusOr<CgroupEvents> ReadEvents(int fd, const Cgroup& cgroup) {
  char text[256];
  ssize_t size = Pread(fd, text, sizeof(text), 0, "cgroup.events");
  if (size < 0) {
    return ErrnoStatus(
        errno, "read",
        absl::StrCat("cannot read ", cgroup.path(), "/cgroup.events"));
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
    absl::StatusOr<CgroupEvents> events = ReadEvents(fd->get(), cgroup);
    if (!events.ok()) return events.status();
    if (is_wanted(*events)) return true;
    absl::Duration left = until - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    pollfd change{fd->get(), POLLPRI, 0};
    absl::Duration patience =
        std::min(absl::Ceil(left, absl::Milliseconds(1)), kLongestPoll);
    Poll(&change, 1, static_cast<int>(absl::ToInt64Milliseconds(patience)));
  }
}

}  // namespace

absl::StatusOr<CgroupEvents> ReadCgroupEvents(const Cgroup& cgroup) {
  absl::StatusOr<UniqueFd> fd = cgroup.OpenControl("cgroup.events", O_RDONLY);
  if (!fd.ok()) return fd.status();
  return ReadEvents(fd->get(), cgroup);
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
