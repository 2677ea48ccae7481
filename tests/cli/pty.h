// A shell in a pseudo-terminal, and somebody who types.
#ifndef TREEKILL_TESTS_CLI_PTY_H_
#define TREEKILL_TESTS_CLI_PTY_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {

inline constexpr char kCtrlC[] = "\x03";
inline constexpr char kCtrlD[] = "\x04";
inline constexpr char kCtrlZ[] = "\x1a";
inline constexpr char kCtrlBackslash[] = "\x1c";

// An interactive bash that leads the session of a terminal of its own. What is
// typed is echoed, as on any terminal: what is awaited must not stand in it.
class Shell final {
 public:
  // Starts in `directory`, with treekill in PATH; returns at its first prompt.
  Shell(const std::string& directory,
        std::map<std::string, std::string> environment) {
    environment["PATH"] =
        absl::StrCat(Folder(TreekillPath()), ":", Folder(EscapeePath()), ":",
                     getenv("PATH"));
    environment["PS1"] = "<status:$?>";
    environment["TERM"] = "dumb";
    environment["HOME"] = directory;
    environment["HISTFILE"] = "/dev/null";
    std::vector<std::string> variables;
    for (const auto& [name, value] : environment) {
      variables.push_back(absl::StrCat(name, "=", value));
    }
    std::vector<char*> pointers;
    for (std::string& variable : variables) pointers.push_back(variable.data());
    pointers.push_back(nullptr);
    winsize size{.ws_row = 50, .ws_col = 1000, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = forkpty(&terminal_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      BecomeFresh();
      if (chdir(directory.c_str()) != 0) _exit(99);
      execle("/bin/bash", "bash", "--norc", "--noprofile", "-i", nullptr,
             pointers.data());
      _exit(99);
    }
    fcntl(terminal_, F_SETFD, FD_CLOEXEC);
    EXPECT_EQ(Prompt(), 0);
  }

  ~Shell() {
    HangUp();
    bool ended =
        Eventually([&] { return waitpid(pid_, nullptr, WNOHANG) == pid_; });
    EXPECT_TRUE(ended) << "the shell outlives its terminal";
    if (ended) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  pid_t pid() const { return pid_; }

  void Type(const std::string& keys) {
    ssize_t written = write(terminal_, keys.data(), keys.size());
    EXPECT_EQ(written, static_cast<ssize_t>(keys.size()));
  }

  // Not "\r": while bash hands the terminal over nobody translates that.
  void Line(const std::string& text) {
    Type(absl::StrReplaceAll(text, {{kRun, kRun + added_}}) + "\n");
  }

  // From now on each `treekill run` that is typed has these options, too.
  void AddToRun(const std::string& options) { added_ = options; }

  // Waits until `text` has come, and forgets everything up to its end.
  bool Expect(const std::string& text) {
    bool found = Eventually([&] {
      ReadMore();
      return seen_.find(text) != std::string::npos;
    });
    EXPECT_TRUE(found) << "no '" << text << "' in: " << absl::CEscape(seen_);
    if (found) seen_.erase(0, seen_.find(text) + text.size());
    return found;
  }

  // Waits for the shell's prompt; returns its $?.
  int Prompt() {
    int status = -1;
    if (!Expect("<status:") || !Eventually([&] {
          ReadMore();
          return seen_.find('>') != std::string::npos;
        })) {
      return status;
    }
    EXPECT_TRUE(absl::SimpleAtoi(seen_.substr(0, seen_.find('>')), &status));
    seen_.erase(0, seen_.find('>') + 1);
    return status;
  }

  // Types a command and returns its $?.
  int Run(const std::string& command) {
    Line(command);
    return Prompt();
  }

  void HangUp() {
    if (terminal_ >= 0) close(std::exchange(terminal_, -1));
  }

  // Who has the cookie, but for the shell.
  std::vector<pid_t> Others(const std::string& cookie) const {
    std::vector<pid_t> others = FindByCookie(cookie);
    std::erase(others, pid_);
    return others;
  }

 private:
  static std::string Folder(const std::string& path) {
    return path.substr(0, path.rfind('/'));
  }

  void ReadMore() {
    pollfd ready{terminal_, POLLIN, 0};
    char buffer[4096];
    while (poll(&ready, 1, 0) == 1) {
      ssize_t size = read(terminal_, buffer, sizeof(buffer));
      if (size <= 0) return;
      seen_.append(buffer, size);
    }
  }

  static constexpr char kRun[] = "treekill run";

  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string added_;
  std::string seen_;
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_PTY_H_
