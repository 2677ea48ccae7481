// Tells that something was made in a directory: inotify(7).
#ifndef TREEKILL_KERNEL_DIRECTORY_WATCH_H_
#define TREEKILL_KERNEL_DIRECTORY_WATCH_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

class DirectoryWatch final {
 public:
  static absl::StatusOr<DirectoryWatch> Create(const std::string& directory);

  // Readable from when something was made until Clear(). What, is for a look
  // at the directory to tell: the kernel drops what is too much for it.
  int fd() const { return fd_.get(); }
  void Clear() const;

 private:
  explicit DirectoryWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_DIRECTORY_WATCH_H_
