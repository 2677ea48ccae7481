#include "treekill/kernel/pidfd.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <optional>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/process_directory.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

class PidfdTest : public KernelTest {
 protected:
  // A child that runs `body` and exits with what it returns. It waits for the
  // pidfd: the kernel may reap it at once, and then there is none to be had.
  UniqueFd Fork(const std::function<int()>& body) {
    int gate[2];
    EXPECT_EQ(pipe2(gate, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(gate[1]);
      char byte;
      (void)!read(gate[0], &byte, 1);
      close(gate[0]);
      _exit(body());
    }
    absl::StatusOr<UniqueFd> pidfd = OpenPidfd(pid_);
    close(gate[0]);
    close(gate[1]);
    EXPECT_TRUE(pidfd.ok()) << pidfd.status();
    return pidfd.ok() ? *std::move(pidfd) : UniqueFd();
  }

  static int SleepForEver() {
    for (;;) pause();
  }

  static std::optional<ChildEnd> Poll(const UniqueFd& pidfd, bool reap) {
    absl::StatusOr<std::optional<ChildEnd>> end =
        PollChildEnd(pidfd.get(), reap);
    EXPECT_TRUE(end.ok()) << end.status();
    return end.ok() ? *end : std::nullopt;
  }

  static ChildEnd WaitAndReap(const UniqueFd& pidfd) {
    EXPECT_TRUE(IsReadable(pidfd.get(), absl::Seconds(60)));
    std::optional<ChildEnd> end = Poll(pidfd, /*reap=*/true);
    EXPECT_TRUE(end.has_value());
    return end.value_or(ChildEnd());
  }

  bool IsZombieOrAlive() { return kill(pid_, 0) == 0; }

  pid_t pid_ = 0;
};

TEST_F(PidfdTest, NothingWhileItLives) {
  UniqueFd pidfd = Fork(SleepForEver);
  EXPECT_EQ(Poll(pidfd, /*reap=*/false), std::nullopt);
  EXPECT_EQ(Poll(pidfd, /*reap=*/true), std::nullopt);
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGKILL).ok());
  WaitAndReap(pidfd);
}

TEST_F(PidfdTest, PeekingLeavesTheZombie) {
  UniqueFd pidfd = Fork([] { return 42; });
  ASSERT_TRUE(IsReadable(pidfd.get(), absl::Seconds(60)));
  for (int i = 0; i < 3; ++i) {
    std::optional<ChildEnd> end = Poll(pidfd, /*reap=*/false);
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->how, ChildEnd::How::kExited);
    EXPECT_EQ(end->value, 42);
    EXPECT_TRUE(IsZombieOrAlive());
  }
  EXPECT_EQ(WaitAndReap(pidfd).value, 42);
  EXPECT_FALSE(IsZombieOrAlive());
}

TEST_F(PidfdTest, KilledBySignal) {
  UniqueFd pidfd = Fork(SleepForEver);
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGUSR1).ok());
  ChildEnd end = WaitAndReap(pidfd);
  EXPECT_EQ(end.how, ChildEnd::How::kKilled);
  EXPECT_EQ(end.value, SIGUSR1);
  EXPECT_FALSE(end.core_dumped);
}

// Into a folder that goes with the test, where the kernel writes files.
TEST_F(PidfdTest, TheCoreFlagIsWhatWaitSays) {
  rig::TempDir directory;
  auto crash = [&] {
    rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &limit);
    if (chdir(directory.path().c_str()) != 0) return 1;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
    return 1;
  };
  UniqueFd pidfd = Fork(crash);
  ASSERT_TRUE(IsReadable(pidfd.get(), absl::Seconds(60)));
  std::optional<ChildEnd> peeked = Poll(pidfd, /*reap=*/false);
  ASSERT_TRUE(peeked.has_value());
  int status = 0;
  ASSERT_EQ(waitpid(pid_, &status, 0), pid_);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(peeked->how, ChildEnd::How::kKilled);
  EXPECT_EQ(peeked->value, SIGABRT);
  EXPECT_EQ(peeked->core_dumped, WCOREDUMP(status) != 0);
}

TEST_F(PidfdTest, UsageComesWithTheEnd) {
  UniqueFd pidfd = Fork([] {
    timespec used{};
    while (used.tv_nsec < 50000000 && used.tv_sec == 0) {
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    }
    return 0;
  });
  ChildEnd end = WaitAndReap(pidfd);
  EXPECT_GT(end.usage.ru_utime.tv_usec + end.usage.ru_stime.tv_usec, 0);
  EXPECT_GT(end.usage.ru_maxrss, 0);
}

TEST_F(PidfdTest, SomebodyElseHasReapedIt) {
  UniqueFd pidfd = Fork([] { return 42; });
  ASSERT_EQ(waitpid(-1, nullptr, 0), pid_);
  std::optional<ChildEnd> end = Poll(pidfd, /*reap=*/false);
  ASSERT_TRUE(end.has_value());
  if (end->how != ChildEnd::How::kUnknown) {
    EXPECT_EQ(end->how, ChildEnd::How::kExited);
    EXPECT_EQ(end->value, 42);
  }
  EXPECT_TRUE(ReapChild(pidfd.get()).ok());
}

TEST_F(PidfdTest, AHostThatIgnoresSigchld) {
  for (int signal_number : {0, SIGKILL}) {
    auto before = signal(SIGCHLD, SIG_IGN);
    UniqueFd pidfd =
        Fork([&] { return signal_number == 0 ? 42 : SleepForEver(); });
    if (signal_number != 0) {
      EXPECT_TRUE(SendSignal(pidfd.get(), pid_, signal_number).ok());
    }
    EXPECT_TRUE(IsReadable(pidfd.get(), absl::Seconds(60)));
    std::optional<ChildEnd> end;
    EXPECT_TRUE(rig::Eventually([&] {
      end = Poll(pidfd, /*reap=*/true);
      return end.has_value();
    }));
    signal(SIGCHLD, before);
    ASSERT_TRUE(end.has_value());
    if (end->how == ChildEnd::How::kUnknown) continue;
    EXPECT_EQ(end->how, signal_number == 0 ? ChildEnd::How::kExited
                                           : ChildEnd::How::kKilled);
    EXPECT_EQ(end->value, signal_number == 0 ? 42 : SIGKILL);
  }
}

TEST_F(PidfdTest, SignalsToOneThatHasGoneAreNoError) {
  UniqueFd pidfd = Fork([] { return 0; });
  ASSERT_TRUE(IsReadable(pidfd.get(), absl::Seconds(60)));
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGTERM).ok());
  WaitAndReap(pidfd);
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGTERM).ok());
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGKILL).ok());
}

TEST_F(PidfdTest, SignalsThatAreNoneAreAnError) {
  UniqueFd pidfd = Fork(SleepForEver);
  absl::Status status = SendSignal(pidfd.get(), pid_, 1000);
  EXPECT_EQ(ErrnoOf(status), EINVAL) << status;
  EXPECT_EQ(CallOf(status), "pidfd_send_signal");
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGKILL).ok());
  WaitAndReap(pidfd);
}

// By a pidfd and by a directory of /proc, in the same way.
TEST_F(PidfdTest, WhomWeMaySignalIsNotAskedByNumberUnlessTheCallIsForbidden) {
  UniqueFd pidfd = Fork(SleepForEver);
  absl::StatusOr<ProcessDirectory> directory = ProcessDirectory::Open(pid_);
  ASSERT_TRUE(directory.ok()) << directory.status();
  static int refusals;
  auto refuse = [](const char* call, const char*) {
    bool is_refused = std::string(call) == "pidfd_send_signal";
    return is_refused && refusals-- > 0 ? EPERM : 0;
  };
  // The process alone, then the probe as well.
  for (int count : {1, 2}) {
    SetFaultHookForTesting(refuse);
    refusals = count;
    bool by_pidfd = MaySignal(pidfd.get(), pid_);
    refusals = count;
    bool by_directory = directory->MaySignal();
    SetFaultHookForTesting(nullptr);
    EXPECT_EQ(by_pidfd, count == 2);
    EXPECT_EQ(by_directory, count == 2);
  }
  EXPECT_TRUE(SendSignal(pidfd.get(), pid_, SIGKILL).ok());
  WaitAndReap(pidfd);
  EXPECT_TRUE(MaySignal(pidfd.get(), pid_));
  EXPECT_TRUE(directory->MaySignal());
}

TEST_F(PidfdTest, NoSuchProcess) {
  EXPECT_TRUE(absl::IsNotFound(OpenPidfd(1 << 30).status()));
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_TRUE(absl::IsNotFound(OpenPidfd(pid).status()));
}

TEST_F(PidfdTest, DescriptorsAreCloseOnExec) {
  absl::StatusOr<UniqueFd> pidfd = OpenPidfd(getpid());
  ASSERT_TRUE(pidfd.ok()) << pidfd.status();
  EXPECT_EQ(fcntl(pidfd->get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(PidfdTest, TheCgroupIdIsTheInodeOfItsDirectory) {
  absl::StatusOr<UniqueFd> self = OpenPidfd(getpid());
  ASSERT_TRUE(self.ok()) << self.status();
  std::optional<uint64_t> id = CgroupIdOf(self->get());
  if (!id.has_value()) GTEST_SKIP() << "PIDFD_GET_INFO needs Linux 6.13";
  struct stat status;
  ASSERT_EQ(stat(own().c_str(), &status), 0);
  EXPECT_EQ(*id, status.st_ino);
  UniqueFd child = Fork(SleepForEver);
  EXPECT_EQ(CgroupIdOf(child.get()), id);
  EXPECT_TRUE(SendSignal(child.get(), pid_, SIGKILL).ok());
  WaitAndReap(child);
  EXPECT_EQ(CgroupIdOf(child.get()), std::nullopt);
}

TEST_F(PidfdTest, WhatIsNoPidfdHasNoCgroup) {
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(CgroupIdOf(null.get()), std::nullopt);
  EXPECT_EQ(CgroupIdOf(-1), std::nullopt);
}

}  // namespace
}  // namespace treekill::kernel
