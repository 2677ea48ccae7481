// Who may write to a cgroup on a machine that systemd runs: the single-writer
// rule of systemd's CGROUP_DELEGATION.md. Needs no libsystemd.
#ifndef TREEKILL_SYSTEMD_DELEGATION_H_
#define TREEKILL_SYSTEMD_DELEGATION_H_

#include <string>

namespace treekill::systemd {

// Is systemd the service manager here? As sd_booted(3).
bool IsRunning();

// Has systemd delegated `cgroup_directory`, or a directory above it and below
// `mount_point`, to those who run there? It marks what it delegates with the
// extended attributes user.delegate (since 252) and trusted.delegate (seen by
// root only).
bool IsDelegated(const std::string& cgroup_directory,
                 const std::string& mount_point);

// Is the innermost unit that `cgroup_directory` belongs to a service? Their
// cgroups are called as they are.
bool IsInService(const std::string& cgroup_directory);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_DELEGATION_H_
