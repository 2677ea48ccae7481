#include "cli/output_file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "cli/fd.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

// -1 and errno when that fails. What was opened by others stays theirs.
int CopyOf(int fd) {
  bool is_standard = fd <= STDERR_FILENO;
  // Passed on, it would keep its reader waiting for the command.
  if (!is_standard && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -1;
  return fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

// So much that poll(2) has said there is room for is written without waiting.
ssize_t WriteSome(int fd, absl::string_view text) {
  return write(fd, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
}

bool WriteAll(int fd, absl::string_view text, absl::Duration patience) {
  absl::Time deadline = absl::Now() + patience;
  while (!text.empty()) {
    int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    int timeout = patience == absl::InfiniteDuration()
                      ? -1
                      : static_cast<int>(std::clamp<int64_t>(left, 0, 60000));
    pollfd ready{fd, POLLOUT, 0};
    int count = poll(&ready, 1, timeout);
    if (count == 0) return false;
    ssize_t written = count < 0 ? -1 : WriteSome(fd, text);
    if (written < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (written > 0) text.remove_prefix(written);
  }
  return true;
}

}  // namespace

absl::Status OutputFile::Open(const std::string& where, const char* option,
                              const char* content) {
  if (where.empty()) return absl::OkStatus();
  absl::string_view number = where;
  int fd = -1;
  if (!absl::ConsumePrefix(&number, "fd:")) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    fd = AboveStandardStreams(open(where.c_str(), kFlags, 0666));
  } else if (!absl::SimpleAtoi(number, &fd) || fd < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "invalid ", option, " ", Quoted(where), ": it takes a file or fd:N"));
  } else {
    fd = CopyOf(fd);
  }
  if (fd >= 0) file_.reset(fdopen(fd, "w"));
  if (file_ != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "cannot write ", content, " to ", Quoted(where), ": ", strerror(errno)));
}

bool OutputFile::Write(const std::string& text, absl::Duration patience) {
  if (file_ == nullptr) return true;
  bool written = WriteAll(fileno(file_.get()), text, patience);
  return fclose(file_.release()) == 0 && written;
}

}  // namespace treekill::cli
