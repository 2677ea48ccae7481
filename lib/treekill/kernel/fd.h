// An owned file descriptor, and small files read and written as a whole.
#ifndef TREEKILL_KERNEL_FD_H_
#define TREEKILL_KERNEL_FD_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace treekill::kernel {

// Owns one descriptor, or none (-1), and closes it. Move-only.
class UniqueFd final {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  // Closes the descriptor held, and takes `fd`. Keeps errno.
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Opens `name` relative to `directory` (AT_FDCWD for the working directory),
// close-on-exec. `shown` is the path for the error message.
absl::StatusOr<UniqueFd> OpenFile(int directory, const std::string& name,
                                  int flags, const std::string& shown);

// fcntl(2)'s F_DUPFD_CLOEXEC.
absl::StatusOr<UniqueFd> Duplicate(int fd);

// Reads a file of /proc or a cgroup from the start to its end.
absl::StatusOr<std::string> ReadFile(int directory, const std::string& name,
                                     const std::string& shown);

// Writes `text` to an existing file with a single write(2), as control files
// want it.
absl::Status WriteFile(int directory, const std::string& name,
                       const std::string& text, const std::string& shown);

// What is left to read of an open file called `name`.
absl::StatusOr<std::string> ReadToEnd(int fd, const std::string& name,
                                      const std::string& shown);

// A file in memory that holds `content`, to be read from its start:
// memfd_create(2).
absl::StatusOr<UniqueFd> MakeMemoryFile(const std::string& name,
                                        const std::string& content);

// lstat(2): is there a directory at `path`, and no link to one?
bool DirectoryExists(const std::string& path);

// faccessat(2): may we, by our effective ids, write to `path`?
bool IsWritable(const std::string& path);

// An extended attribute's value; nullopt without one.
std::optional<std::string> ReadAttribute(const std::string& path,
                                         const std::string& name);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_FD_H_
