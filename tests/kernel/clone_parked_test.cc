// A process that waits on the memory of its parent before it execs.
#include <poll.h>

#include <memory>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"

namespace treekill::kernel {
namespace {

using ::testing::HasSubstr;

class CloneParkedTest : public ::testing::Test {
 protected:
  static constexpr int kForLong = 600 * 1000;

  void SetUp() override {
    before_ = rig::OpenFds();
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    wake_.reset(fds[0]);
    waker_.reset(fds[1]);
    memory_->plan = {.park_fd = wake_.get(),
                     .park_ms = kForLong,
                     .park_name = "parked",
                     .new_process_group = true,
                     .blocked = kEverySignal,
                     .paths = paths_,
                     .argv = argv_,
                     .envp = environment_};
  }

  void TearDown() override {
    if (child_.pidfd.valid()) {
      EXPECT_TRUE(SendSignal(child_.pidfd.get(), child_.pid, SIGKILL).ok());
      EXPECT_TRUE(ReapChild(child_.pidfd.get()).ok());
    }
    child_ = Child();
    wake_.reset();
    waker_.reset();
    EXPECT_EQ(rig::OpenFds(), before_);
  }

  void Start() {
    absl::StatusOr<Child> child = CloneParked(memory_.get());
    ASSERT_TRUE(child.ok()) << child.status();
    child_ = *std::move(child);
  }

  bool HasName(const std::string& name) const {
    return rig::Eventually([&] {
      std::optional<ProcessStat> stat = ReadProcessStat(child_.pid);
      return stat.has_value() && stat->comm == name;
    });
  }

  std::string Status() const {
    return rig::ReadAll(absl::StrCat("/proc/", child_.pid, "/status"));
  }

  const char* paths_[2] = {"/bin/sleep", nullptr};
  const char* argv_[3] = {"sleep", "600", nullptr};
  const char* environment_[1] = {nullptr};
  std::unique_ptr<ParkedMemory> memory_ = std::make_unique<ParkedMemory>();
  UniqueFd wake_;
  UniqueFd waker_;
  Child child_;
  std::map<int, std::string> before_;
};

TEST_F(CloneParkedTest, ItExecsWhenItIsWoken) {
  Start();
  EXPECT_TRUE(HasName("parked"));
  EXPECT_TRUE(
      rig::Eventually([&] { return rig::SleepsIn(child_.pid, "poll"); }));
  EXPECT_TRUE(HasName("parked"));
  EXPECT_EQ(write(waker_.get(), "x", 1), 1);
  EXPECT_TRUE(HasName("sleep"));
}

TEST_F(CloneParkedTest, ItExecsAfterAWhile) {
  memory_->plan.park_ms = 20;
  Start();
  EXPECT_TRUE(HasName("sleep"));
}

// A failing call of the child's, on the thread-local memory of this thread.
TEST_F(CloneParkedTest, ItsParentKeepsItsErrno) {
  paths_[0] = "/no/such/program";
  memory_->plan.park_ms = 20;
  Start();
  int ended = -1;
  errno = 77;
  while (errno == 77 && ended != 1) {
    pollfd end{child_.pidfd.get(), POLLIN, 0};
    ended = poll(&end, 1, /*timeout_ms=*/1);
  }
  EXPECT_EQ(errno, 77);
  EXPECT_EQ(memory_->failure.error, ENOENT);
}

TEST_F(CloneParkedTest, WhatWentWrongIsInTheMemory) {
  paths_[0] = "/no/such/program";
  memory_->plan.park_ms = 1;
  Start();
  EXPECT_TRUE(IsReadable(child_.pidfd.get(), absl::Minutes(1)));
  EXPECT_EQ(memory_->failure.stage, ChildStage::kExec);
  EXPECT_EQ(memory_->failure.error, ENOENT);
  absl::StatusOr<std::optional<ChildEnd>> end =
      PollChildEnd(child_.pidfd.get(), /*reap=*/false);
  ASSERT_TRUE(end.ok() && end->has_value()) << end.status();
  EXPECT_EQ((*end)->value, 127);
}

TEST_F(CloneParkedTest, ItCanBeKilled) {
  Start();
  EXPECT_TRUE(SendSignal(child_.pidfd.get(), child_.pid, SIGKILL).ok());
  EXPECT_TRUE(ReapChild(child_.pidfd.get()).ok());
  child_.pidfd.reset();
  EXPECT_EQ(kill(child_.pid, 0), -1);
}

TEST_F(CloneParkedTest, OnlyWhoKnowsItSeesItsEnd) {
  paths_[0] = "/no/such/program";
  memory_->plan.park_ms = 1;
  Start();
  EXPECT_TRUE(IsReadable(child_.pidfd.get(), absl::Minutes(1)));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(kill(child_.pid, 0), 0) << "reaped by somebody else";
}

TEST_F(CloneParkedTest, NoSignalIsSentAtItsEnd) {
  sigset_t sigchld;
  sigset_t before;
  sigemptyset(&sigchld);
  sigaddset(&sigchld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &sigchld, &before);
  Start();
  EXPECT_TRUE(SendSignal(child_.pidfd.get(), child_.pid, SIGKILL).ok());
  EXPECT_TRUE(IsReadable(child_.pidfd.get(), absl::Minutes(1)));
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGCHLD), 0);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(CloneParkedTest, EverySignalIsBlockedInTheChildOnly) {
  std::string none = "SigBlk:\t0000000000000000";
  // SIGKILL and SIGSTOP cannot be.
  std::string all = "SigBlk:\tfffffffffffbfeff";
  EXPECT_THAT(rig::ReadAll("/proc/self/status"), HasSubstr(none));
  Start();
  EXPECT_THAT(Status(), HasSubstr(all));
  EXPECT_THAT(rig::ReadAll("/proc/self/status"), HasSubstr(none));
  EXPECT_EQ(write(waker_.get(), "x", 1), 1);
  EXPECT_TRUE(HasName("sleep"));
  EXPECT_THAT(Status(), HasSubstr(all));
}

TEST_F(CloneParkedTest, ItIsOutOfReachOfOurProcessGroup) {
  Start();
  EXPECT_EQ(getpgid(child_.pid), child_.pid);
}

TEST_F(CloneParkedTest, ItsDescriptorIsCloseOnExec) {
  Start();
  EXPECT_EQ(fcntl(child_.pidfd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_GT(child_.pidfd.get(), STDERR_FILENO);
}

}  // namespace
}  // namespace treekill::kernel
