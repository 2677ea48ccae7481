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
  std::atomic<int> innocents{0};
  std::atomic<int> children{0};
  std::atomic<bool> over{false};
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

TEST_F(PidReuseTest, OfTheTarget) {
  constexpr int kRounds = 10000;
  RunInNamespace([&]() -> std::string {
    pid_t reuser = fork();
    if (reuser == 0) Reuse(page_);
    std::string failure;
    for (int round = 1; round <= kRounds && failure.empty(); ++round) {
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
  if (IsSkipped()) return;
  // Else nothing was raced.
  EXPECT_GT(page_->reused, kRounds / 100);
}

// A number goes to and fro between children of the target, which it reaps, and
// innocent processes of somebody else's.
[[noreturn]] void HaveChildren(Page* page) {
  while (true) {
    pid_t child = ForkAs(kNumber);
    if (child == 0) {
      Spin(30);
      _exit(0);
    }
    if (child > 0) {
      ++page->children;
      waitpid(child, nullptr, 0);
    }
  }
}

[[noreturn]] void HaveInnocents(Page* page) {
  while (!page->over) {
    pid_t innocent = ForkAs(kNumber);
    if (innocent == 0) {
      Spin(60);
      _exit(0);
    }
    if (innocent < 0) continue;
    ++page->innocents;
    int status = 0;
    waitpid(innocent, &status, WUNTRACED);
    if (WIFEXITED(status)) continue;
    ++page->wrong;
    kill(innocent, SIGKILL);
    if (WIFSTOPPED(status)) waitpid(innocent, nullptr, 0);
  }
  _exit(0);
}

TEST_F(PidReuseTest, OfItsChildren) {
  constexpr int kRounds = 200;
  RunInNamespace([&]() -> std::string {
    pid_t crowd = fork();
    if (crowd == 0) HaveInnocents(page_);
    std::string failure;
    for (int round = 0; round < kRounds && failure.empty(); ++round) {
      int before = page_->children;
      pid_t target = fork();
      if (target == 0) HaveChildren(page_);
      Await([&] { return page_->children > before; });
      absl::StatusOr<Processes> tree = Processes::OfTree(target);
      if (!tree.ok()) return std::string(tree.status().message());
      ProcessesEnd end = std::move(*tree).End({.signal = SIGKILL});
      if (!end.drained) failure = "not drained";
      waitpid(target, nullptr, 0);
      // As the init of the namespace.
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
    }
    page_->over = true;
    waitpid(crowd, nullptr, 0);
    return failure;
  });
  if (IsSkipped()) return;
  EXPECT_GT(page_->innocents, kRounds / 10);
}

}  // namespace
}  // namespace treekill
