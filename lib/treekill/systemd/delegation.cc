#include "treekill/systemd/delegation.h"

#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/fd.h"

namespace treekill::systemd {

bool IsRunning() { return kernel::DirectoryExists("/run/systemd/system"); }

bool IsDelegated(const std::string& cgroup_directory,
                 const std::string& mount_point) {
  std::string directory = cgroup_directory;
  while (directory.size() > mount_point.size()) {
    for (const char* name : {"user.delegate", "trusted.delegate"}) {
      if (kernel::ReadAttribute(directory, name) == "1") return true;
    }
    directory.resize(directory.rfind('/'));
  }
  return false;
}

bool IsInService(const std::string& cgroup_directory) {
  size_t service = cgroup_directory.rfind(".service");
  size_t scope = cgroup_directory.rfind(".scope");
  return service != std::string::npos &&
         (scope == std::string::npos || scope < service);
}

}  // namespace treekill::systemd
