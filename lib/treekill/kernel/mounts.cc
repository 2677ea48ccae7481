#include "treekill/kernel/mounts.h"

#include <fcntl.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {
namespace {

// Space, tab, newline and backslash come as \040, \011, \012 and \134.
std::string Unescape(absl::string_view field) {
  auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && is_octal(field[i + 1]) &&
        is_octal(field[i + 2]) && is_octal(field[i + 3])) {
      text +=
          static_cast<char>((field[i + 1] - '0') * 64 +
                            (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

bool HasOption(absl::string_view options, absl::string_view wanted) {
  for (absl::string_view option : absl::StrSplit(options, ',')) {
    if (option == wanted) return true;
  }
  return false;
}

}  // namespace

CgroupMounts ParseCgroupMounts(const std::string& mountinfo) {
  CgroupMounts mounts;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    // 41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
    // The optional fields in the middle vary in number and end with " - ".
    size_t separator = line.find(" - ");
    if (separator == absl::string_view::npos) continue;
    absl::string_view rest = line.substr(separator + 3);
    if (!absl::StartsWith(rest, "cgroup")) continue;
    std::vector<absl::string_view> left =
        absl::StrSplit(line.substr(0, separator), ' ');
    std::vector<absl::string_view> right = absl::StrSplit(rest, ' ');
    if (left.size() < 6 || right.size() < 3) continue;
    if (right[0] == "cgroup") mounts.has_v1 = true;
    if (right[0] != "cgroup2") continue;
    CgroupMount mount;
    mount.root = Unescape(left[3]);
    mount.mount_point = Unescape(left[4]);
    mount.read_only = HasOption(left[5], "ro") || HasOption(right[2], "ro");
    mount.options = absl::StrCat(left[5]);
    for (absl::string_view option : absl::StrSplit(right[2], ',')) {
      if (option != "rw" && !HasOption(left[5], option)) {
        absl::StrAppend(&mount.options, ",", option);
      }
    }
    mounts.v2.push_back(std::move(mount));
  }
  return mounts;
}

absl::StatusOr<CgroupMounts> ReadCgroupMounts() {
  constexpr char kPath[] = "/proc/self/mountinfo";
  absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, kPath, kPath);
  if (!text.ok()) return text.status();
  return ParseCgroupMounts(*text);
}

std::string DirectoryOfCgroup(const CgroupMount& mount,
                              const std::string& cgroup) {
  absl::string_view below = cgroup;
  if (mount.root != "/") {
    if (!absl::StartsWith(below, mount.root)) return "";
    below.remove_prefix(mount.root.size());
    if (!below.empty() && below[0] != '/') return "";
  }
  if (below == "/") below = "";
  if (below == "/.." || absl::StartsWith(below, "/../")) return "";
  return absl::StrCat(mount.mount_point, below);
}

}  // namespace treekill::kernel
