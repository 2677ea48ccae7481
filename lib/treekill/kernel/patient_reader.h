// Reads of /proc that another process may hold up. /proc/PID/cmdline is read
// under the process's mmap_lock and /proc/PID/stack under its exec_update_lock
// (fs/proc/base.c), and one that uses a file system which does not answer keeps
// these for as long as that takes.
#ifndef TREEKILL_KERNEL_PATIENT_READER_H_
#define TREEKILL_KERNEL_PATIENT_READER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

// Reads in a helper process, called "treekill-reader", which it starts when
// there is something to be read, and kills when a read does not return: a
// thread could not be killed. To be made for as long as it is needed, and used
// by one thread. Where kSharesMemory is not so it reads itself.
class PatientReader final {
 public:
  // How long all reads together may be waited for in vain; each for at most a
  // quarter of what is left of that.
  explicit PatientReader(absl::Duration patience);
  // Ends and reaps the helper.
  ~PatientReader();
  PatientReader(const PatientReader&) = delete;
  PatientReader& operator=(const PatientReader&) = delete;

  // At most `limit` bytes from where the open file called `shown` stands.
  // kDeadlineExceeded when that does not return in time.
  absl::StatusOr<std::string> Read(int fd, size_t limit,
                                   const std::string& shown);

 private:
  struct Helper;

  absl::Status Start();
  void Ask(int fd);
  // False when it has not come in time.
  bool AwaitAnswer();
  void Kill();
  // Of a helper that is about to end.
  void AwaitEnd();

  absl::Duration patience_;
  std::unique_ptr<Helper> helper_;
};

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_PATIENT_READER_H_
