// The signals that treekill itself is sent.
#ifndef TREEKILL_CLI_SIGNALS_H_
#define TREEKILL_CLI_SIGNALS_H_

#include <optional>
#include <vector>

namespace treekill::cli {

// While it exists every signal is blocked, so that nothing but SIGKILL ends
// treekill before its tree; those that it acts upon are read from fd(). One a
// process.
class Signals final {
 public:
  struct Received {
    int signal = 0;
    // Made by the kernel, which for INT, QUIT, TSTP, WINCH and HUP means: by
    // the terminal, for its whole foreground group.
    bool from_terminal = false;
  };

  // Sent to us by PR_SET_PDEATHSIG: the last one, which hardly anybody uses.
  static constexpr int kParentDeath = 64;

  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Readable when Next() has one; -1 when it could not be had.
  int fd() const { return fd_; }
  std::optional<Received> Next();

  // Readable when one of those has come that end a program: TERM, HUP, INT or
  // QUIT. Next() has it, too, until TakeEnd() has; that is 0 without one.
  int end_fd() const { return end_fd_; }
  int TakeEnd();

  // HUP, INT and QUIT as far as they were ignored when treekill started (by
  // nohup, or a shell's `&`): they stay so, for treekill and the command.
  const std::vector<int>& ignored() const { return ignored_; }

 private:
  int fd_ = -1;
  int end_fd_ = -1;
  std::vector<int> ignored_;
};

// Stops this process as Ctrl-Z does any other; returns when it is continued.
// At once where the kernel ignores the stop (an orphaned process group).
void StopSelf();

// Ends this process by `signal`, without a core dump of its own. Returns when
// that signal does not end a process.
void DieBySignal(int signal);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_SIGNALS_H_
