#include "cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
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

}  // namespace

absl::Status OutputFile::Open(const std::string& where, const char* option,
                              const char* content) {
  if (where.empty()) return absl::OkStatus();
  where_ = where;
  content_ = content;
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

absl::Status OutputFile::Write(const std::string& text,
                               const Patience& patience) {
  if (file_ == nullptr) return absl::OkStatus();
  int error = WriteWithin(fileno(file_.get()), text, patience);
  if (fclose(file_.release()) != 0 && error == 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "cannot write ", content_, " to ", Quoted(where_), ": ",
      error == ETIMEDOUT ? "nobody has read all of it" : strerror(error)));
}

}  // namespace treekill::cli
