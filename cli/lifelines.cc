#include "cli/lifelines.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

// glibc 2.36 has forgotten that itself.
extern "C" {
#include <sys/pidfd.h>
}

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/fd.h"

namespace treekill::cli {
namespace {

absl::Status Failure(const char* what) {
  return absl::UnavailableError(absl::StrCat(
      "cannot watch the parent process: ", what, ": ", strerror(errno)));
}

absl::Status ParentIsGone() {
  return absl::FailedPreconditionError(
      "the parent process is dead already; nothing was started");
}

absl::Status Unfit(int fd, const std::string& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("invalid --lifeline ", fd, ": ", why));
}

bool MayWrite(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }
bool MayRead(int flags) { return (flags & O_ACCMODE) != O_WRONLY; }

// Another descriptor of ours that keeps the pipe `fd` from hanging up; -1
// without one.
int OtherEndOf(int fd, const struct stat& pipe) {
  bool other_writes = MayRead(fcntl(fd, F_GETFL));
  std::unique_ptr<DIR, int (*)(DIR*)> fds(opendir("/proc/self/fd"), closedir);
  while (dirent* entry = fds == nullptr ? nullptr : readdir(fds.get())) {
    int other = -1;
    struct stat status;
    if (!absl::SimpleAtoi(entry->d_name, &other) || fstat(other, &status) < 0 ||
        status.st_dev != pipe.st_dev || status.st_ino != pipe.st_ino) {
      continue;
    }
    int flags = fcntl(other, F_GETFL);
    if (other_writes ? MayWrite(flags) : MayRead(flags)) return other;
  }
  return -1;
}

}  // namespace

const short kLifelineEvents = POLLRDHUP;  // NOLINT

bool LifelineClosed(short events) {  // NOLINT
  return (events & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) != 0;
}

absl::Status ParentWatch::Start(pid_t expected, int signal) {
  pid_t parent = getppid();
  if (expected != 0 && parent != expected) return ParentIsGone();
  if (parent == 0) {
    if (prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) < 0) return Failure("prctl");
    return absl::OkStatus();
  }
  fd_ = AboveStandardStreams(pidfd_open(parent, 0));
  if (fd_ < 0 && errno != ESRCH) return Failure("pidfd_open");
  // The number may have gone to another since.
  if (fd_ < 0 || getppid() != parent) return ParentIsGone();
  return absl::OkStatus();
}

void ParentWatch::Stop() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

absl::Status PrepareLifeline(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return Unfit(fd, "it is not open");
  if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)) {
    return Unfit(fd, "it is no pipe or socket, so it has no other end");
  }
  if (S_ISFIFO(status.st_mode)) {
    int other = OtherEndOf(fd, status);
    if (other >= 0) {
      return Unfit(fd, absl::StrCat("treekill has the other end open itself, "
                                    "as descriptor ",
                                    other, "; close it for treekill"));
    }
  }
  pollfd now{fd, kLifelineEvents, 0};
  if (poll(&now, 1, 0) > 0 && LifelineClosed(now.revents)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the other end of descriptor ", fd,
                     " is closed already; nothing was started"));
  }
  if (fd > STDERR_FILENO) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return absl::OkStatus();
}

}  // namespace treekill::cli
