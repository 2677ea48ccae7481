// Descriptors of the command line tool's own.
#ifndef TREEKILL_CLI_FD_H_
#define TREEKILL_CLI_FD_H_

#include <utility>

namespace treekill::cli {

// Moves `fd` up if it took the place of a closed standard stream: what is meant
// for that stream must not go there. Passes -1 and errno on.
int AboveStandardStreams(int fd);

// A descriptor that is closed with its owner; -1 for none.
class OwnedFd final {
 public:
  explicit OwnedFd(int fd = -1) : fd_(AboveStandardStreams(fd)) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();

  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_FD_H_
