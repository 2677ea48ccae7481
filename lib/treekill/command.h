// What to run.
#ifndef TREEKILL_COMMAND_H_
#define TREEKILL_COMMAND_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace treekill {

// Where one of the command's standard streams comes from or goes to. Borrows
// the descriptor: it must stay open until Spawn() has returned, and stays the
// caller's.
class Stream final {
 public:
  // The caller's own stream of that number, closed if the caller's is.
  static Stream Inherit() { return Stream(Kind::kInherit, -1); }
  // /dev/null.
  static Stream Null() { return Stream(Kind::kNull, -1); }
  // A copy of `fd`.
  static Stream Fd(int fd) { return Stream(Kind::kFd, fd); }

  bool inherits() const { return kind_ == Kind::kInherit; }
  bool is_null() const { return kind_ == Kind::kNull; }
  // -1 unless made by Fd().
  int fd() const { return fd_; }

 private:
  enum class Kind { kInherit, kNull, kFd };
  Stream(Kind kind, int fd) : kind_(kind), fd_(fd) {}
  Kind kind_;
  int fd_;
};

// Makes descriptor `number` of the command a copy of `fd`, which is borrowed
// until Spawn() has returned.
struct ExtraFd {
  int fd = -1;
  int number = -1;
};

// setrlimit(2): `resource` is RLIMIT_NOFILE and the like.
struct ResourceLimit {
  int resource = 0;
  uint64_t soft = 0;
  uint64_t hard = 0;
};

// A command and the world that it starts in:
//
//   Command{.argv = {"make", "-j8"}, .working_directory = "/src"}
//
// It starts with an empty signal mask and default dispositions, whatever the
// caller's are.
struct Command {
  // The program and its arguments. A program without a slash is looked for in
  // the PATH that the command gets, as execvp(3) does; a file that the kernel
  // does not know how to run goes to /bin/sh.
  std::vector<std::string> argv = {};

  // "NAME=value" each; nullopt: the caller's environment at Spawn(), but see
  // `inherit_fds`.
  std::optional<std::vector<std::string>> environment = std::nullopt;

  // Empty: the caller's. A relative path is the caller's; a relative program
  // is then looked for in this directory.
  std::string working_directory = {};

  Stream stdin_ = Stream::Inherit();
  Stream stdout_ = Stream::Inherit();
  Stream stderr_ = Stream::Inherit();

  std::vector<ExtraFd> extra_fds = {};

  // Passes on every descriptor that is not close-on-exec, as a shell does. A
  // server wants false: then the command gets its streams and `extra_fds`.
  //
  // With this and the caller's environment the command takes the caller's place
  // in the eyes of systemd: where $LISTEN_PID, $WATCHDOG_PID or
  // $SYSTEMD_EXEC_PID name the caller, the command's name the command; see
  // sd_listen_fds(3), sd_watchdog_enabled(3) and systemd.exec(5).
  bool inherit_fds = false;

  std::vector<ResourceLimit> limits = {};

  // Signals that stay ignored in the command if they are in the caller: for a
  // tool that nohup or a shell has told to ignore SIGHUP, SIGINT or SIGQUIT.
  std::vector<int> keep_ignored = {};

  // PR_SET_NO_NEW_PRIVS, prctl(2): setuid programs, and those with file
  // capabilities, run with the command's own rights. So it can have no member
  // that an ordinary user may not signal.
  bool no_new_privileges = false;
};

// kInvalidArgument, with the reason, for a command that cannot be started: no
// or an empty program, a NUL byte, descriptors given twice or negative.
absl::Status Validate(const Command& command);

}  // namespace treekill

#endif  // TREEKILL_COMMAND_H_
