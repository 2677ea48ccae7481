#include "treekill/containment/keeper.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/cgroup_events.h"
#include "treekill/kernel/link.h"

namespace treekill::containment {
namespace {

// "/a/b" for "/a/b/c/d" and "/a/b/cc".
std::string CommonDirectory(const std::string& one, const std::string& other) {
  std::string a = one + "/";
  std::string b = other + "/";
  size_t same =
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  return a.substr(0, same == 0 ? 0 : a.rfind('/', same - 1));
}

}  // namespace

std::string KeeperLink() {
  constexpr char kLink[] = "/treekill/keeper";
  if (geteuid() == 0) return absl::StrCat("/run", kLink);
  const char* given = secure_getenv("XDG_RUNTIME_DIR");
  if (given != nullptr && given[0] == '/') return absl::StrCat(given, kLink);
  return absl::StrCat("/run/user/", geteuid(), kLink);
}

bool IsKept(const kernel::Cgroup& cgroup) {
  std::string file = absl::StrCat(kKeeperItself, "/cgroup.events");
  absl::StatusOr<kernel::UniqueFd> events = cgroup.OpenControl(file, O_RDONLY);
  if (!events.ok()) return false;
  absl::StatusOr<bool> populated =
      kernel::ReadPopulated(events->get(), cgroup.path() + "/" + file);
  return populated.ok() && *populated;
}

absl::StatusOr<Placement> FindKeeper(const kernel::Cgroup& own) {
  absl::StatusOr<std::string> said =
      kernel::ReadLinkOf(geteuid(), KeeperLink());
  if (!said.ok()) return said.status();
  absl::StatusOr<kernel::Cgroup> cgroup = kernel::Cgroup::Open(*said);
  if (!cgroup.ok()) return cgroup.status();
  if (!IsKept(*cgroup)) {
    return absl::NotFoundError(
        absl::StrCat("the keeper of ", *said, " is not running"));
  }
  std::string above = CommonDirectory(own.path(), *said);
  if (!cgroup->IsWritable() ||
      !kernel::IsWritable(absl::StrCat(above, "/cgroup.procs"))) {
    return absl::PermissionDeniedError(
        absl::StrCat("no process may be moved from ", own.path(), " to ", *said,
                     ": ", above, " is not ours to write to"));
  }
  return Placement{*std::move(cgroup), PlacementRight::kKeeper};
}

}  // namespace treekill::containment
