// What the kernel tests share.
#ifndef TREEKILL_TESTS_KERNEL_FIXTURE_H_
#define TREEKILL_TESTS_KERNEL_FIXTURE_H_

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/treekill.h"

namespace treekill {

// Checks at its end that no process, no leaf and no descriptor is left. The rig
// gives each test program a cgroup of its own.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TREEKILL_NEEDS_CGROUP();
    fds_before_ = rig::OpenFds();
    own_ = rig::OwnCgroup();
  }

  void TearDown() override {
    if (own_.empty()) return;
    rig::Eventually([&] { return Members().size() == 1; });
    EXPECT_THAT(Members(), ::testing::ElementsAre(getpid()));
    EXPECT_THAT(rig::LeftLeaves(), ::testing::IsEmpty());
    CleanUp();
    EXPECT_EQ(rig::OpenFds(), fds_before_);
  }

  const std::string& own() const { return own_; }

  // Of the test's cgroup and all below it.
  std::vector<pid_t> Members() const {
    absl::StatusOr<kernel::Cgroup> own = kernel::Cgroup::Open(own_);
    if (!own.ok()) return {};
    absl::StatusOr<kernel::CgroupMembers> members = own->Members();
    return members.ok() ? members->pids : std::vector<pid_t>();
  }

 private:
  // What the test has made for itself, and what it has left by failing.
  void CleanUp() {
    for (pid_t pid : Members()) {
      if (pid != getpid()) kill(pid, SIGKILL);
    }
    absl::StatusOr<kernel::Cgroup> own = kernel::Cgroup::Open(own_);
    ASSERT_TRUE(own.ok()) << own.status();
    for (const auto& entry : std::filesystem::directory_iterator(own_)) {
      if (!entry.is_directory()) continue;
      absl::StatusOr<kernel::Cgroup> nested =
          kernel::Cgroup::Open(entry.path());
      ASSERT_TRUE(nested.ok()) << nested.status();
      EXPECT_TRUE(rig::Eventually([&] {
        return own->RemoveChild(entry.path().filename()).ok();
      })) << entry.path();
    }
  }

  std::string own_;
  std::map<int, std::string> fds_before_;
};

// With a Supervisor, which is gone before it is looked what is left.
class SupervisedTest : public KernelTest {
 protected:
  explicit SupervisedTest(SupervisorOptions options = {})
      : options_(std::move(options)) {}

  void SetUp() override {
    KernelTest::SetUp();
    if (HasFatalFailure() || IsSkipped()) return;
    Create(options_);
  }

  void TearDown() override {
    supervisor_.reset();
    kernel::SetFaultHookForTesting(nullptr);
    KernelTest::TearDown();
  }

  void Create(const SupervisorOptions& options) {
    absl::StatusOr<Supervisor> supervisor = Supervisor::Create(options);
    ASSERT_TRUE(supervisor.ok()) << supervisor.status();
    supervisor_.emplace(*std::move(supervisor));
  }

  Tree Spawn(const Command& command, const TreeOptions& options = {}) {
    absl::StatusOr<Tree> tree = supervisor_->Spawn(command, options);
    EXPECT_TRUE(tree.ok()) << tree.status();
    return tree.ok() ? *std::move(tree) : Tree();
  }

  std::optional<Supervisor> supervisor_;

 private:
  const SupervisorOptions options_;
};

inline Command Shell(const std::string& script) {
  return Command{.argv = {"/bin/sh", "-c", script}};
}

// The escapee in one of its modes: see tests/rig/escapee.cc.
inline Command Escapee(const std::string& mode, const std::string& ready,
                       const std::string& then = "stay") {
  return Command{.argv = {rig::EscapeePath(), mode,
                          "--cookie=" + rig::NewCookie(), "--ready=" + ready,
                          "--then=" + then}};
}

// Waits until the escapee has written its members' pids, and returns them.
inline std::vector<pid_t> ReadyMembers(const std::string& ready) {
  EXPECT_TRUE(rig::Eventually([&] { return !rig::ReadAll(ready).empty(); }));
  std::istringstream text(rig::ReadAll(ready));
  std::vector<pid_t> pids;
  for (pid_t pid = 0; text >> pid;) pids.push_back(pid);
  return pids;
}

// A zombie is not: whoever has adopted it may take its time to reap it.
inline bool IsAlive(pid_t pid) {
  std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
  return stat.has_value() && !stat->IsDead();
}

inline bool IsReadable(int fd, absl::Duration patience) {
  absl::Duration end = kernel::MonotonicNow() + patience;
  absl::Duration left = patience;
  int result = 0;
  do {
    pollfd ready{fd, POLLIN, 0};
    result = poll(&ready, 1, static_cast<int>(ToInt64Milliseconds(left)));
    left = end - kernel::MonotonicNow();
  } while (result < 0 && errno == EINTR && left > absl::ZeroDuration());
  return result == 1;
}

// Waits until an exec of sleep(1) is through: before, a process has another
// name, or what is close-on-exec is still open, or its dynamic loader and its C
// library are opening files of their own.
inline void WaitForSleep(pid_t pid) {
  EXPECT_TRUE(rig::Eventually([&] {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    return stat.has_value() && stat->comm == "sleep" &&
           rig::SleepsIn(pid, "nanosleep");
  })) << rig::ReadAll(absl::StrCat("/proc/", pid, "/status"));
}

// While it lives, the library's own time limit of that name is so long.
class ScopedLimit final {
 public:
  ScopedLimit(const char* name, absl::Duration limit) {
    name_ = name;
    limit_ = limit;
    kernel::SetTimeLimitHookForTesting(Limit);
  }
  ~ScopedLimit() { kernel::SetTimeLimitHookForTesting(nullptr); }
  ScopedLimit(const ScopedLimit&) = delete;
  ScopedLimit& operator=(const ScopedLimit&) = delete;

 private:
  static absl::Duration Limit(const char* name, absl::Duration usual) {
    return name == name_ ? limit_ : usual;
  }

  static inline std::string name_;
  static inline absl::Duration limit_;
};

// Serves the tree until it has ended; generous, and fails the test after that.
inline bool WaitForEnd(Tree& tree) {
  absl::StatusOr<bool> ended = tree.Wait(absl::Seconds(60));
  EXPECT_TRUE(ended.ok()) << ended.status();
  EXPECT_TRUE(ended.ok() && *ended) << "the tree has not ended";
  return ended.ok() && *ended;
}

// Runs `body` in a forked child, for what would change this process, and
// returns what it says: "" when all was well.
inline std::string InChild(const std::function<std::string()>& body) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return "pipe2";
  int writer = fcntl(fds[1], F_DUPFD_CLOEXEC, 100);
  close(fds[1]);
  pid_t pid = fork();
  if (pid == 0) {
    close(fds[0]);
    std::string text = body();
    if (text.empty()) text = "well";
    _exit(write(writer, text.data(), text.size()) < 0 ? 1 : 0);
  }
  close(writer);
  std::string text;
  char buffer[4096];
  pollfd ready{fds[0], POLLIN, 0};
  while (poll(&ready, 1, 120000) == 1) {
    ssize_t count = read(fds[0], buffer, sizeof(buffer));
    if (count <= 0) break;
    text.append(buffer, count);
  }
  close(fds[0]);
  kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  if (text == "well") return "";
  return text.empty() ? absl::StrCat("ended with wait status ", status) : text;
}

}  // namespace treekill

#endif  // TREEKILL_TESTS_KERNEL_FIXTURE_H_
