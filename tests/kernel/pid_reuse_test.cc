// A process number is given to another process while the one that had it is
// being killed: nobody else is ever signalled. In a PID namespace of its own,
// where clone3(2) lets the test say which number a process is to have.
//
// Raced is what comes after a process was named to Processes. Who gives the
// number of a process that has ended before names another one.
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <new>
#include <utility>

#include "tests/kernel/fixture.h"
#include "treekill/guardian/foreign_reaper.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/processes.h"

namespace treekill {
namespace {

constexpr pid_t kNumber = 300;

// Shared by the processes of one test.
struct Page {
  std::atomic<int> named{0};
  std::atomic<int> go{0};
  std::atomic<int> reused{0};
  std::atomic<int> ended{0};
  std::atomic<int> wrong{0};
};

Page* NewPage() {
  void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) Page;
}

// fork(2) of a process with that number; -1 while another has it.
pid_t ForkAs(pid_t number) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<uint64_t>(&number);
  arguments.set_tid_size = 1;
  return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

template <typename Done>
void Await(Done done) {
  while (!done()) sched_yield();
}

void Spin(int microseconds) {
  timespec start{}, now{};
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - start.tv_sec) * 1000000 +
               (now.tv_nsec - start.tv_nsec) / 1000 <
           microseconds);
}

[[noreturn]] void Live() {
  while (true) pause();
}

// As the init of a new PID namespace, with a /proc of its own.
std::string InNamespace(const std::function<std::string()>& body) {
  return InChild([&]() -> std::string {
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0) return "skip: unshare";
    return InChild([&]() -> std::string {
      if (mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
          mount("proc", "/proc", "proc", 0, nullptr) < 0) {
        return "skip: mount";
      }
      pid_t pid = ForkAs(kNumber);
      if (pid == 0) _exit(0);
      if (pid < 0) return "skip: clone3 with set_tid";
      waitpid(pid, nullptr, 0);
      return body();
    });
  });
}

class PidReuseTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    page_ = NewPage();
    ASSERT_NE(page_, nullptr);
  }

  void TearDown() override {
    munmap(page_, sizeof(Page));
    KernelTest::TearDown();
  }

  void RunInNamespace(const std::function<std::string()>& body) {
    std::string result = InNamespace(body);
    if (absl::StartsWith(result, "skip: ")) {
      GTEST_SKIP() << "needs root's rights and Linux 5.5: " << result;
    }
    EXPECT_EQ(result, "");
    EXPECT_EQ(page_->wrong, 0);
  }

  void ReuseTheTargets(int rounds);

  Page* page_ = nullptr;
};

// Each round: a target, which is killed by its parent as well, reaped, and has
// its number given to an innocent process at once, some time between the start
// and the end of End().
[[noreturn]] void Reuse(Page* page) {
  for (int round = 1;; ++round) {
    pid_t target = -1;
    Await([&] { return (target = ForkAs(kNumber)) >= 0; });
    if (target == 0) Live();
    page->named = round;
    Await([&] { return page->go >= round; });
    Spin(round * 7 % 300);
    kill(target, SIGKILL);
    waitpid(target, nullptr, 0);
    pid_t innocent = ForkAs(kNumber);
    if (innocent == 0) Live();
    if (page->ended < round) ++page->reused;
    Await([&] { return page->ended >= round; });
    int status = 0;
    if (waitpid(innocent, &status, WNOHANG | WUNTRACED) != 0) ++page->wrong;
    kill(innocent, SIGKILL);
    waitpid(innocent, nullptr, 0);
  }
}

void PidReuseTest::ReuseTheTargets(int rounds) {
  RunInNamespace([&]() -> std::string {
    pid_t reuser = fork();
    if (reuser == 0) Reuse(page_);
    std::string failure;
    for (int round = 1; round <= rounds && failure.empty(); ++round) {
      Await([&] { return page_->named >= round; });
      absl::StatusOr<Processes> tree = Processes::OfTree(kNumber);
      page_->go = round;
      if (!tree.ok()) return std::string(tree.status().message());
      // It dies of TERM, too; what comes after the grace is not waited for.
      bool at_once = round % 2 == 0;
      ProcessesEnd end =
          std::move(*tree).End({.signal = at_once ? SIGKILL : SIGTERM});
      page_->ended = round;
      if (!end.drained) failure = "not drained";
    }
    kill(reuser, SIGKILL);
    waitpid(reuser, nullptr, 0);
    return failure;
  });
}

TEST_F(PidReuseTest, OfTheTarget) { ReuseTheTargets(200); }

// A sanitizer's fork(2) takes ten times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kManyRounds = 1000;
#else
constexpr int kManyRounds = 10000;
#endif

using ThoroughPidReuseAloneTest = PidReuseTest;

TEST_F(ThoroughPidReuseAloneTest, OfTheTarget) {
  ReuseTheTargets(kManyRounds);
  if (IsSkipped()) return;
  // Else nothing was raced.
  EXPECT_GT(page_->reused, kManyRounds / 100);
}

// Nobody of the group is alive any more when another takes its number.
TEST_F(PidReuseTest, OfAGroup) {
  RunInNamespace([]() -> std::string {
    auto fork_group = [] {
      pid_t pid = ForkAs(kNumber);
      if (pid == 0) Live();
      setpgid(pid, pid);
      return pid;
    };
    pid_t member = fork_group();
    absl::StatusOr<Processes> group = Processes::OfGroup(kNumber);
    if (!group.ok()) return std::string(group.status().message());
    kill(member, SIGKILL);
    waitpid(member, nullptr, 0);
    pid_t innocent = fork_group();
    if (innocent != kNumber) return "the number is not free";
    ProcessesEnd end = std::move(*group).End({.signal = SIGKILL});
    bool touched = waitpid(innocent, nullptr, WNOHANG | WUNTRACED) != 0;
    kill(innocent, SIGKILL);
    waitpid(innocent, nullptr, 0);
    if (touched) return "the innocent was signalled";
    if (end.drained) return "it is not said that somebody is alive";
    bool told = absl::StrContains(end.error.message(), "may be another one");
    return told ? "" : std::string(end.error.message());
  });
}

// What the fault hook does before a system call of End()'s.
struct Swap {
  int in_calls = 0;
  pid_t innocent = -1;
  pid_t child = -1;
};
Swap swap;

// Both sleep when it returns.
pid_t ForkWithChildAs(pid_t number, pid_t* child) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return -1;
  pid_t parent = ForkAs(number);
  if (parent == 0) {
    pid_t pid = fork();
    if (pid == 0) Live();
    [[maybe_unused]] ssize_t written = write(fds[1], &pid, sizeof(pid));
    Live();
  }
  bool ready = read(fds[0], child, sizeof(*child)) == sizeof(*child);
  close(fds[0]);
  close(fds[1]);
  Await([&] {
    return rig::StateOf(*child) == 'S' && rig::StateOf(number) == 'S';
  });
  return ready ? parent : -1;
}

// Gives the number of the target's child to an innocent process.
int SwapWhenDue(const char*, const char*) {
  if (--swap.in_calls != 0) return 0;
  kill(kNumber, SIGKILL);
  Await([] {
    // Ours to reap when its parent is dead.
    waitpid(kNumber, nullptr, WNOHANG);
    return (swap.innocent = ForkAs(kNumber)) >= 0;
  });
  if (swap.innocent == 0) Live();
  return 0;
}

// Its kernel reaps its child, be it stopped itself.
pid_t ForkTargetWithChild() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return -1;
  pid_t target = fork();
  if (target == 0) {
    signal(SIGCHLD, SIG_IGN);
    pid_t child = ForkAs(kNumber);
    if (child == 0) Live();
    [[maybe_unused]] ssize_t written = write(fds[1], "x", 1);
    Live();
  }
  char byte = 0;
  bool ready = read(fds[0], &byte, 1) == 1;
  close(fds[0]);
  close(fds[1]);
  return ready ? target : -1;
}

// Not by chance, but before each single system call in turn.
TEST_F(PidReuseTest, OfAChildBeforeEachSystemCall) {
  RunInNamespace([&]() -> std::string {
    bool due = true;
    int call = 0;
    for (call = 1; due && page_->wrong == 0; ++call) {
      pid_t target = ForkTargetWithChild();
      absl::StatusOr<Processes> tree = Processes::OfTree(target);
      if (!tree.ok()) return std::string(tree.status().message());
      swap = {.in_calls = call};
      kernel::SetFaultHookForTesting(SwapWhenDue);
      ProcessesEnd end = std::move(*tree).End({.signal = SIGKILL});
      kernel::SetFaultHookForTesting(nullptr);
      if (!end.drained) return absl::StrCat("not drained: ", call);
      waitpid(target, nullptr, 0);
      due = swap.innocent > 0;
      if (due && waitpid(kNumber, nullptr, WNOHANG | WUNTRACED) != 0) {
        ++page_->wrong;
      }
      kill(kNumber, SIGKILL);
      waitpid(kNumber, nullptr, 0);
    }
    return call > 30 ? "" : absl::StrCat("only ", call, " calls");
  });
}

// The same for the number of a reaper that others have started: its next owner
// has a child.
int GiveReaperAway(const char*, const char*) {
  if (--swap.in_calls != 0) return 0;
  kill(kNumber, SIGKILL);
  waitpid(kNumber, nullptr, 0);
  swap.innocent = ForkWithChildAs(kNumber, &swap.child);
  return 0;
}

TEST_F(PidReuseTest, OfAForeignReaperBeforeEachSystemCall) {
  RunInNamespace([&]() -> std::string {
    bool due = true;
    int call = 0;
    for (call = 1; due && page_->wrong == 0; ++call) {
      pid_t member = -1;
      guardian::FoundReaper found;
      if (ForkWithChildAs(kNumber, &member) < 0) return "no reaper";
      found.processes.push_back(kernel::ReadProcessStat(kNumber).value());
      auto hold = guardian::ForeignReaper::Open(found);
      if (!hold.ok()) return std::string(hold.status().message());
      swap = {.in_calls = call};
      kernel::SetFaultHookForTesting(GiveReaperAway);
      (*hold)->Signal(SIGWINCH, /*only_group=*/0);
      (void)(*hold)->Kill();
      kernel::SetFaultHookForTesting(nullptr);
      due = swap.innocent > 0;
      if (due && rig::StateOf(swap.child) != 'S') ++page_->wrong;
      for (pid_t pid : {swap.child, member, kNumber}) {
        if (pid > 0) kill(pid, SIGKILL);
      }
      // All of them are ours by now: this is the namespace's init.
      while (waitpid(-1, nullptr, 0) > 0) continue;
    }
    return call > 30 ? "" : absl::StrCat("only ", call, " calls");
  });
}

}  // namespace
}  // namespace treekill
