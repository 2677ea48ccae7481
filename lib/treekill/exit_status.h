// How a command ended.
#ifndef TREEKILL_EXIT_STATUS_H_
#define TREEKILL_EXIT_STATUS_H_

#include <string>

namespace treekill {

// How the leader of a tree ended; see waitid(2). A value, freely copied.
class ExitStatus final {
 public:
  // Nobody knows: the host ignores SIGCHLD or waits for any child, and has
  // taken the status before us.
  ExitStatus() = default;

  static ExitStatus Exited(int code) {
    return ExitStatus(Kind::kExited, code, false);
  }
  static ExitStatus Signaled(int signal, bool core_dumped) {
    return ExitStatus(Kind::kSignaled, signal, core_dumped);
  }

  bool known() const { return kind_ != Kind::kUnknown; }
  bool exited() const { return kind_ == Kind::kExited; }
  bool signaled() const { return kind_ == Kind::kSignaled; }
  // Exited with 0.
  bool success() const { return exited() && value_ == 0; }

  // The exit code, 0 to 255; 0 unless exited().
  int code() const { return exited() ? value_ : 0; }
  // The signal that killed it; 0 unless signaled().
  int signal() const { return signaled() ? value_ : 0; }
  bool core_dumped() const { return core_dumped_; }

  // What a shell puts into $?: the code, or 128 + signal; 125 when unknown.
  int ShellCode() const;

  // "exit code 3", "signal TERM", "signal SEGV (core dumped)", "unknown".
  std::string ToString() const;

 private:
  enum class Kind { kUnknown, kExited, kSignaled };
  ExitStatus(Kind kind, int value, bool core_dumped)
      : kind_(kind), value_(value), core_dumped_(core_dumped) {}

  Kind kind_ = Kind::kUnknown;
  int value_ = 0;
  bool core_dumped_ = false;
};

}  // namespace treekill

#endif  // TREEKILL_EXIT_STATUS_H_
