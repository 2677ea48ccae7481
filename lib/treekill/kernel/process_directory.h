// One process as /proc shows it, pinned: proc(5).
#ifndef TREEKILL_KERNEL_PROCESS_DIRECTORY_H_
#define TREEKILL_KERNEL_PROCESS_DIRECTORY_H_

#include <dirent.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/patient_reader.h"
#include "treekill/kernel/proc.h"

namespace treekill::kernel {

// Of /proc/PID/status.
struct ProcessStatus {
  // The process that it is a thread of; itself when it is a process.
  pid_t process = 0;
  uid_t real_uid = 0;
  // Effective.
  uid_t uid = 0;
  // Bit N-1 is signal N; caught are those that have a handler.
  uint64_t ignored_signals = 0;
  uint64_t caught_signals = 0;
  // Its pids, from this PID namespace's inwards to that of its own.
  std::vector<pid_t> namespace_pids;

  // Is it in a PID namespace below this one; and its init, at whose end the
  // kernel kills everybody there: pid_namespaces(7)?
  bool IsInInnerNamespace() const { return namespace_pids.size() > 1; }
  bool IsNamespaceInit() const;
};

// Parses the text of /proc/PID/status; nullopt when it is not one.
std::optional<ProcessStatus> ParseProcessStatus(const std::string& text);

// A file that is open in a process, or a link to one.
struct OpenDescriptor {
  int fd = -1;
  // Such as "pipe:[123]", "socket:[123]" or a path: any bytes but NUL.
  std::string target;
  // How it was opened.
  bool readable = false;
  bool writable = false;
};

// The directory /proc/PID, held open: whatever is read through it is of that
// one process. kNotFound when that has been reaped, even if its pid is
// another's by now.
class ProcessDirectory final {
 public:
  // Of a process, or a thread. kNotFound when there is none. Whether /proc is
  // that of our PID namespace, CheckProc() tells.
  static absl::StatusOr<ProcessDirectory> Open(pid_t pid);

  absl::StatusOr<ProcessStat> Stat() const;
  absl::StatusOr<ProcessStatus> Status() const;

  // Returns the state in `stat`, which Stat() has given. If that is a zombie's,
  // the main thread has ended, and with it what the kernel shows of the memory,
  // the files and the cgroup: then it returns that of a thread that lives, if
  // one does, and all that is read from now on is of that thread. After
  // MaySignal(), which wants a process.
  char GoToLivingThread(const ProcessStat& stat);

  // The arguments, each followed by a NUL unless the program has changed that;
  // at most `limit` bytes. Empty for a zombie and a kernel thread.
  // kDeadlineExceeded: see PatientReader.
  absl::StatusOr<std::string> CommandLine(size_t limit,
                                          PatientReader* reader) const;

  // The cgroup v2 path; "" where no cgroup v2 is mounted or known.
  absl::StatusOr<std::string> Cgroup() const;

  // The kernel function that it sleeps in, and the stack of that; "" when they
  // are not to be had (not ours, running, gone; the stack: not root, or not in
  // time).
  std::string WaitChannel() const;
  std::string KernelStack(PatientReader* reader) const;

  // What is open in it. kPermissionDenied: another's, see ptrace(2).
  absl::StatusOr<std::vector<OpenDescriptor>> OpenFiles() const;

  // Does the kernel let us signal it? True when it has gone.
  bool MaySignal() const;

  pid_t pid() const { return pid_; }

 private:
  using DirectoryStream = std::unique_ptr<DIR, int (*)(DIR*)>;

  ProcessDirectory(pid_t pid, UniqueFd fd) : pid_(pid), fd_(std::move(fd)) {}

  absl::StatusOr<DirectoryStream> List(const char* name) const;
  std::string Shown(const char* file) const;
  absl::StatusOr<std::string> ReadPatiently(const char* file, size_t limit,
                                            PatientReader* reader) const;
  absl::StatusOr<std::string> Read(const char* file) const;

  pid_t pid_;
  UniqueFd fd_;
};

// What a descriptor of this process refers to, as OpenDescriptor::target names
// it; "" when it is none.
std::string TargetOfFd(int fd);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_PROCESS_DIRECTORY_H_
