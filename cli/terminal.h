// The controlling terminal; see tcgetpgrp(3) and credentials(7).
#ifndef TREEKILL_CLI_TERMINAL_H_
#define TREEKILL_CLI_TERMINAL_H_

namespace treekill::cli {

class Terminal final {
 public:
  // Looks for the controlling terminal; there may be none.
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Was this process in the terminal's foreground group at the start? Then a
  // command that stays in our group can read, and gets Ctrl-C and Ctrl-Z.
  bool was_foreground() const { return was_foreground_; }

  // Makes our group the foreground one again, if it was and a command that is
  // gone had taken it for itself: a shell that we return to would be stopped
  // at its first read. SIGTTOU must be blocked.
  void Restore();

 private:
  int fd_ = -1;
  bool was_foreground_ = false;
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_TERMINAL_H_
