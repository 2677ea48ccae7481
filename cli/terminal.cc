#include "cli/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "cli/fd.h"

namespace treekill::cli {

Terminal::Terminal() {
  fd_ = AboveStandardStreams(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
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
