// What the tests share: real processes, real cgroups, and the check that
// nothing of a test is left on the machine.
#ifndef TREEKILL_TESTS_RIG_RIG_H_
#define TREEKILL_TESTS_RIG_RIG_H_

#include <sys/resource.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace treekill::rig {

// Skips the test where no cgroup can be made; where the environment says
// TREEKILL_REQUIRE_CGROUP=1, that is a failure instead.
#define TREEKILL_NEEDS_CGROUP()                                \
  do {                                                         \
    std::string reason = ::treekill::rig::WhyNoCgroup();       \
    if (reason.empty()) break;                                 \
    if (::treekill::rig::CgroupIsRequired()) FAIL() << reason; \
    GTEST_SKIP() << reason;                                    \
  } while (false)

std::string WhyNoCgroup();
bool CgroupIsRequired();

std::string BuildFolder();
std::string SourceFolder();

// The programs under test, from the build folder.
std::string TreekillPath();
std::string TreekillWithFaultsPath();
std::string EscapeePath();
std::string ReadmeExamplePath();
std::string HostPath();
std::string GuardianPath();
std::string OddMachinePath();
std::string OddSyscallsPath();

// A text that is found in no other process, for one test.
std::string NewCookie();

// The environment variable by which members of a test's tree are found.
inline constexpr char kCookieVariable[] = "TREEKILL_TEST_COOKIE";

// Every live process, zombies and this one left out, that has `cookie` in its
// environment or arguments.
std::vector<pid_t> FindByCookie(const std::string& cookie);

// As /proc/PID/stat has it: proc(5); '-' of none.
char StateOf(pid_t pid);

// Does the process sleep in a function of the kernel's with `part` in its name?
bool SleepsIn(pid_t pid, const std::string& part);

// Is it through with fork and exec, in which a signal may be lost: stopped, in
// sleep(1) or in a shell's wait or sigsuspend?
bool IsAtRest(pid_t pid);

// Waits until FindByCookie() finds nobody, and returns who is left.
std::vector<pid_t> WaitForNobody(const std::string& cookie,
                                 absl::Duration patience);

// SIGKILL to all of them, repeatedly, until none is left: for the end of a
// test in which survivors are expected.
void KillByCookie(const std::string& cookie);

// The directories named treekill-* below this process's own cgroup, at any
// depth.
std::vector<std::string> LeftLeaves();
// This process's own cgroup directory.
std::string OwnCgroup();

// Those in it, and not below: this process, and what it has started there.
std::vector<pid_t> MembersOfOwnCgroup();

// The open descriptors of this process, number and target.
std::map<int, std::string> OpenFds();

// While it lives, this process can open exactly `left` more descriptors,
// whatever numbers those have that it was started with.
class FewDescriptors final {
 public:
  explicit FewDescriptors(rlim_t left);
  ~FewDescriptors();
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_;
  std::vector<int> fillers_;
};

// A folder that is removed with all in it.
class TempDir final {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadAll(const std::string& path);
void WriteAll(const std::string& path, const std::string& text);

// Polls `done` until it is true or `patience` is over; returns its last word.
bool Eventually(const std::function<bool()>& done,
                absl::Duration patience = absl::Seconds(60));

struct Outcome {
  // As in waitpid(2); see exit_code() and signal().
  int wait_status = 0;
  std::string output;
  std::string errors;
  absl::Duration duration;

  // The exit code; -1 when it was ended by a signal.
  int exit_code() const;
  int signal() const;
};

// A program that runs while the test goes on. Its standard input is /dev/null,
// output and errors go to files. The destructor kills it.
class Program final {
 public:
  // `extra` adds to or replaces in the environment; `prepare` runs in the
  // child before exec (async-signal-safe calls only).
  explicit Program(std::vector<std::string> argv,
                   std::map<std::string, std::string> extra = {},
                   std::function<void()> prepare = nullptr);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal);
  // Waits for its end. Kills it, and fails the test, after `patience`.
  Outcome Wait(absl::Duration patience = absl::Seconds(120));

 private:
  TempDir directory_;
  pid_t pid_ = -1;
  absl::Duration started_;
};

// Runs a program to its end.
Outcome RunProgram(std::vector<std::string> argv,
                   std::map<std::string, std::string> extra = {},
                   std::function<void()> prepare = nullptr);

// `treekill run` with these arguments behind it.
Outcome RunTreekill(std::vector<std::string> arguments,
                    std::map<std::string, std::string> extra = {});

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_RIG_RIG_H_
