// Ending what somebody else has started, by the library.
#include "treekill/processes.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"

namespace treekill {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ProcessesTest : public KernelTest {
 protected:
  void TearDown() override {
    kernel::SetFaultHookForTesting(nullptr);
    KernelTest::TearDown();
  }

  // Runs `body` in a process of its own group, and waits until it has written
  // to the descriptor that it is given.
  static pid_t Fork(const std::function<void(int ready)>& body) {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
      setpgid(0, 0);
      body(fds[1]);
      _exit(0);
    }
    close(fds[1]);
    char byte = 0;
    EXPECT_EQ(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    return pid;
  }

  static void Say(int ready) {
    [[maybe_unused]] ssize_t written = write(ready, "x", 1);
  }

  // With that many children.
  static pid_t ForkFamily(int children) {
    return Fork([children](int ready) {
      int ready_children[2];
      if (pipe2(ready_children, O_CLOEXEC) < 0) return;
      for (int i = 0; i < children; ++i) {
        if (fork() == 0) {
          if (i % 2 == 1) setsid();
          if (i % 3 == 1) signal(SIGTERM, SIG_IGN);
          Say(ready_children[1]);
          if (i % 5 == 1) raise(SIGSTOP);
          while (true) pause();
        }
      }
      char byte = 0;
      for (int i = 0; i < children; ++i) {
        if (read(ready_children[0], &byte, 1) != 1) return;
      }
      Say(ready);
      while (true) pause();
    });
  }

  void EndDyingGroups(int rounds);

  static int Reap(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
  }

  // All that has come back to this cgroup's reaper counts by being alive.
  void ExpectOnlyThisIsAlive() const {
    EXPECT_THAT(Members(), testing::ElementsAre(getpid()));
  }
};

TEST_F(ProcessesTest, ATreeIsEnded) {
  pid_t pid = ForkFamily(20);
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  absl::StatusOr<std::vector<Member>> members = tree->Members();
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_EQ(members->size(), 21u);
  EXPECT_EQ(members->front().pid, pid);
  ProcessesEnd end = std::move(*tree).End({.grace = absl::Milliseconds(100)});
  EXPECT_TRUE(end.drained) << end.error;
  EXPECT_TRUE(end.killed);
  EXPECT_THAT(end.survivors, IsEmpty());
  EXPECT_EQ(WTERMSIG(Reap(pid)), SIGTERM);
  ExpectOnlyThisIsAlive();
}

TEST_F(ProcessesTest, TheGraceEndsWhenAllAreGone) {
  pid_t pid = ForkFamily(1);
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  ProcessesEnd end = std::move(*tree).End({.grace = absl::InfiniteDuration()});
  EXPECT_TRUE(end.drained);
  EXPECT_FALSE(end.killed);
  Reap(pid);
}

// The state of `handler_looks_at` when the signal came.
pid_t handler_looks_at;
char state_seen;

// Without a call that asks for faults.
char StateNow() {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/stat", handler_looks_at);
  char text[256] = {};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (read(fd, text, sizeof(text) - 1) < 0) text[0] = '\0';
  close(fd);
  const char* end = strrchr(text, ')');
  return end == nullptr ? '-' : end[2];
}

void LookAtState(int) { state_seen = StateNow(); }

// One that waits in vfork(2) cannot be stopped: it is given a second. Our own
// end would leave its child stopped.
TEST_F(ProcessesTest, NoSignalComesWhileTheyAreStopped) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = fork();
  if (pid == 0) {
    static int ready = fds[1];
    // ThreadSanitizer makes a fork(2) of vfork(2), whose parent is not held up.
    if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) == 0) {
      pid_t child = getpid();
      [[maybe_unused]] ssize_t written = write(ready, &child, sizeof(child));
      while (true) pause();
    }
    _exit(0);
  }
  ASSERT_EQ(read(fds[0], &handler_looks_at, sizeof(pid_t)),
            static_cast<ssize_t>(sizeof(pid_t)));
  for (int fd : fds) close(fd);
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  signal(SIGALRM, LookAtState);
  kernel::SetTimeLimitHookForTesting(
      [](const char* name, absl::Duration usual) {
        return strcmp(name, "stop") == 0 ? absl::Milliseconds(50) : usual;
      });
  // While others are looked for, and the child is stopped.
  static bool alarmed;
  alarmed = false;
  kernel::SetFaultHookForTesting([](const char*, const char*) {
    if (!alarmed && StateNow() == 'T') {
      alarmed = true;
      raise(SIGALRM);
    }
    return 0;
  });
  ProcessesEnd end = std::move(*tree).End({.grace = absl::InfiniteDuration()});
  kernel::SetFaultHookForTesting(nullptr);
  kernel::SetTimeLimitHookForTesting(nullptr);
  EXPECT_TRUE(alarmed) << "the child was never stopped";
  EXPECT_NE(state_seen, '\0');
  signal(SIGALRM, SIG_DFL);
  EXPECT_NE(state_seen, 'T');
  EXPECT_TRUE(end.drained) << end.error;
  EXPECT_FALSE(end.killed);
  Reap(pid);
}

// More processes than descriptors.
TEST_F(ProcessesTest, WithoutADescriptorForEachTheyAreEndedAllTheSame) {
  pid_t pid = ForkFamily(40);
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  {
    rig::FewDescriptors few(10);
    ProcessesEnd end = std::move(*tree).End({.grace = absl::Milliseconds(100)});
    EXPECT_TRUE(end.drained) << end.error;
  }
  Reap(pid);
  EXPECT_TRUE(rig::Eventually([&] { return Members().size() == 1; }));
}

// The first signal ends the parent of those who are not found.
TEST_F(ProcessesTest, WithTooFewDescriptorsToLookItIsNotSaidThatNobodyIsAlive) {
  for (int signal : {SIGTERM, SIGKILL}) {
    for (int left = 0; left < 5; ++left) {
      SCOPED_TRACE(absl::StrCat(signal, " with ", left));
      pid_t pid = ForkFamily(3);
      absl::StatusOr<Processes> tree = Processes::OfTree(pid);
      ASSERT_TRUE(tree.ok()) << tree.status();
      ProcessesEnd end;
      {
        rig::FewDescriptors few(left);
        end = std::move(*tree).End(
            {.signal = signal, .grace = absl::Milliseconds(100)});
      }
      Reap(pid);
      // For /proc and a file in it.
      EXPECT_EQ(end.drained, left >= 2) << end.error;
      if (end.drained) {
        EXPECT_TRUE(rig::Eventually([&] { return Members().size() == 1; }));
      } else {
        EXPECT_THAT(std::string(end.error.message()), HasSubstr("ulimit -n"));
      }
      for (pid_t member : Members()) {
        if (member != getpid()) kill(member, SIGKILL);
      }
    }
  }
}

// Those who are stopped when it goes wrong have to go on.
TEST_F(ProcessesTest, NobodyIsLeftStoppedWhenProcCannotBeReadAnyMore) {
  static int looks;
  looks = 0;
  pid_t pid = Fork([](int ready) {
    signal(SIGUSR1, [](int) { _exit(3); });
    Say(ready);
    while (true) pause();
  });
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    bool is_look = std::string(call) == "open" && std::string(path) == "/proc";
    return is_look && ++looks > 1 ? EACCES : 0;
  });
  ProcessesEnd end =
      std::move(*tree).End({.signal = SIGUSR1, .grace = absl::Seconds(60)});
  kernel::SetFaultHookForTesting(nullptr);
  EXPECT_GT(looks, 1);
  EXPECT_FALSE(end.drained);
  EXPECT_TRUE(absl::IsPermissionDenied(end.error)) << end.error;
  EXPECT_FALSE(end.killed);
  EXPECT_EQ(WEXITSTATUS(Reap(pid)), 3);
}

// As on a machine where some process always has just ended. One that is looked
// for until there is no time left is not drained.
TEST_F(ProcessesTest, StrangersThatEndDoNotKeepATreeStopped) {
  static std::string gone;
  pid_t stranger = ForkFamily(0);
  gone = absl::StrCat("/proc/", stranger, "/stat");
  pid_t pid = ForkFamily(5);
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    return std::string(call) == "open" && path == gone ? ENOENT : 0;
  });
  ProcessesEnd end = std::move(*tree).End({.signal = SIGKILL});
  kernel::SetFaultHookForTesting(nullptr);
  EXPECT_TRUE(end.drained) << end.error;
  for (pid_t one : {pid, stranger}) {
    kill(one, SIGKILL);
    Reap(one);
  }
}

TEST_F(ProcessesTest, WhoMayNotBeSignalledIsNotTouched) {
  pid_t pid = ForkFamily(0);
  // As the kernel answers for another user's.
  kernel::SetFaultHookForTesting([](const char* call, const char* path) {
    bool is_signal =
        std::string(call) == "pidfd_send_signal" || std::string(call) == "kill";
    return is_signal && *path == '\0' ? EPERM : 0;
  });
  absl::Status tree = Processes::OfTree(pid).status();
  absl::Status group = Processes::OfGroup(pid).status();
  kernel::SetFaultHookForTesting(nullptr);
  EXPECT_TRUE(absl::IsPermissionDenied(tree)) << tree;
  EXPECT_TRUE(absl::IsPermissionDenied(group)) << group;
  EXPECT_TRUE(rig::Eventually(
      [&] { return kernel::ReadProcessStat(pid)->state == 'S'; }));
  kill(pid, SIGKILL);
  Reap(pid);
}

TEST_F(ProcessesTest, AGroupThatOutlivesItsLeaderIsEnded) {
  pid_t group = Fork([](int ready) {
    signal(SIGTERM, SIG_IGN);
    for (int i = 0; i < 3; ++i) {
      if (fork() == 0) {
        while (true) pause();
      }
    }
    Say(ready);
  });
  Reap(group);
  absl::StatusOr<Processes> members = Processes::OfGroup(group);
  ASSERT_TRUE(members.ok()) << members.status();
  ProcessesEnd end = std::move(*members).End({.grace = absl::Milliseconds(50)});
  EXPECT_TRUE(end.drained) << end.error;
  EXPECT_TRUE(end.killed);
  ExpectOnlyThisIsAlive();
}

// Its members are gone before anybody looks for those whom they have started.
void ProcessesTest::EndDyingGroups(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    pid_t group = Fork([](int ready) {
      signal(SIGTERM, [](int) {
        if (fork() == 0) {
          while (true) pause();
        }
        _exit(0);
      });
      Say(ready);
      while (true) pause();
    });
    absl::StatusOr<kernel::UniqueFd> leader = kernel::OpenPidfd(group);
    ASSERT_TRUE(leader.ok()) << leader.status();
    if (!kernel::IsGroupAlive(leader->get())) {
      kill(group, SIGKILL);
      Reap(group);
      GTEST_SKIP() << "needs Linux 6.9 to be sure whose group it is";
    }
    absl::StatusOr<Processes> members = Processes::OfGroup(group);
    ASSERT_TRUE(members.ok()) << members.status();
    ProcessesEnd end =
        std::move(*members).End({.grace = absl::Milliseconds(20)});
    // The zombie keeps the number its own.
    EXPECT_TRUE(end.drained) << end.error;
    Reap(group);
    ExpectOnlyThisIsAlive();
    if (HasFailure()) return;
  }
}

TEST_F(ProcessesTest, WhomADyingGroupHasStartedIsEnded) { EndDyingGroups(3); }

using ThoroughProcessesTest = ProcessesTest;

TEST_F(ThoroughProcessesTest, WhomADyingGroupHasStartedIsEnded) {
  EndDyingGroups(50);
}

TEST_F(ProcessesTest, WhatIsNoneIsToldByItsCode) {
  EXPECT_TRUE(absl::IsInvalidArgument(Processes::OfTree(0).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Processes::OfTree(-5).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Processes::OfGroup(0).status()));
  EXPECT_TRUE(absl::IsNotFound(Processes::OfTree(1 << 30).status()));
  EXPECT_TRUE(absl::IsNotFound(Processes::OfGroup(1 << 30).status()));
  EXPECT_TRUE(absl::IsNotFound(Processes::OfCgroup("/no/such").status()));
  EXPECT_TRUE(absl::IsNotFound(Processes::OfCgroup("no/such").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Processes::OfTree(1).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Processes::OfTree(getpid()).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(Processes::OfTree(getppid()).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(Processes::OfGroup(getpgrp()).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Processes::OfCgroup(own()).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Processes::OfCgroup("/").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Processes::OfCgroup("/etc").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Processes::OfCgroup("/etc/passwd").status()));
}

TEST_F(ProcessesTest, AThreadIsNoProcess) {
  pid_t pid = Fork([](int ready) {
    std::thread([ready] {
      Say(ready);
      while (true) pause();
    }).detach();
    while (true) pause();
  });
  pid_t thread = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           absl::StrCat("/proc/", pid, "/task"))) {
    pid_t number = std::stoi(entry.path().filename());
    if (number != pid) thread = number;
  }
  absl::Status status = Processes::OfTree(thread).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("thread of process ", pid)));
  absl::StatusOr<Processes> tree = Processes::OfTree(pid);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_TRUE(std::move(*tree).End({.signal = SIGKILL}).drained);
  Reap(pid);
}

TEST_F(ProcessesTest, AThreadedCgroupIsRefused) {
  std::string path = own() + "/tk-threaded";
  ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
  rig::WriteAll(path + "/cgroup.type", "threaded");
  absl::Status status = Processes::OfCgroup(path).status();
  if (rig::ReadAll(path + "/cgroup.type") == "threaded\n") {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("threaded"));
  }
  EXPECT_EQ(rmdir(path.c_str()), 0);
}

}  // namespace
}  // namespace treekill
