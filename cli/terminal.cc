#include "cli/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace treekill::cli {

Terminal::Terminal() {
  int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return;
  // Not in the place of a closed standard stream.
  fd_ = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  close(fd);
  was_foreground_ = fd_ >= 0 && tcgetpgrp(fd_) == getpgrp();
}

Terminal::~Terminal() {
  if (fd_ >= 0) close(fd_);
}

void Terminal::Restore() {
  if (!was_foreground_) return;
  pid_t foreground = tcgetpgrp(fd_);
  if (foreground == getpgrp()) return;
  // A group that lives has it by right: the shell's, after Ctrl-Z and bg.
  if (foreground > 0 && (kill(-foreground, 0) == 0 || errno != ESRCH)) return;
  tcsetpgrp(fd_, getpgrp());
}

}  // namespace treekill::cli
