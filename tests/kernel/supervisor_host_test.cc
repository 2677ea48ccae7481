// Programs that are hard to live in: trees end in them all the same.
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "tests/kernel/fixture.h"

namespace treekill {
namespace {

const Command kLeaking = Shell("sleep 600 & exit 3");

// Runs a leaking command and says what was wrong with its end.
std::string LeakAndEnd(Containment containment = Containment::kCgroup) {
  absl::StatusOr<Supervisor> supervisor =
      Supervisor::Create({.containment = containment});
  if (!supervisor.ok()) return supervisor.status().ToString();
  absl::StatusOr<Tree> tree = supervisor->Spawn(kLeaking);
  if (!tree.ok()) return tree.status().ToString();
  absl::StatusOr<bool> ended = tree->Wait(absl::Seconds(60));
  if (!ended.ok()) return ended.status().ToString();
  if (!*ended) return "has not ended";
  const TreeReport& report = tree->report();
  if (!report.drained) return "not drained";
  if (!report.errors.empty()) return report.errors[0].ToString();
  bool right = !report.status.known() || report.status.code() == 3;
  return right ? "" : report.status.ToString();
}

class SupervisorHostTest : public KernelTest {};

TEST_F(SupervisorHostTest, SigchldIsIgnored) {
  for (Containment containment :
       {Containment::kCgroup, Containment::kProcessGroup}) {
    EXPECT_EQ(InChild([&] {
                signal(SIGCHLD, SIG_IGN);
                return LeakAndEnd(containment);
              }),
              "")
        << ContainmentName(containment);
  }
}

TEST_F(SupervisorHostTest, SigchldIsIgnoredAndTheStartFails) {
  EXPECT_EQ(InChild([&]() -> std::string {
              signal(SIGCHLD, SIG_IGN);
              absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
              absl::Status status =
                  supervisor->Spawn(Command{.argv = {"no-such"}}).status();
              return ErrnoOf(status) == ENOENT ? "" : status.ToString();
            }),
            "");
}

TEST_F(SupervisorHostTest, AnotherThreadWaitsForAnyChild) {
  for (Containment containment :
       {Containment::kCgroup, Containment::kProcessGroup}) {
    EXPECT_EQ(InChild([&] {
                std::thread([] {
                  for (;;) {
                    if (waitpid(-1, nullptr, 0) < 0) usleep(100);
                  }
                }).detach();
                std::string text;
                for (int i = 0; i < 10 && text.empty(); ++i) {
                  text = LeakAndEnd(containment);
                }
                return text;
              }),
              "")
        << ContainmentName(containment);
  }
}

TEST_F(SupervisorHostTest, EverySignalIsBlocked) {
  EXPECT_EQ(InChild([] {
              sigset_t all;
              sigfillset(&all);
              sigprocmask(SIG_BLOCK, &all, nullptr);
              return LeakAndEnd();
            }),
            "");
}

TEST_F(SupervisorHostTest, TheStandardStreamsAreClosed) {
  EXPECT_EQ(InChild([] {
              for (int fd : {0, 1, 2}) close(fd);
              std::string text = LeakAndEnd();
              for (int fd : {0, 1, 2}) {
                if (fcntl(fd, F_GETFD) >= 0) text += " a stream is taken";
              }
              return text;
            }),
            "");
}

TEST_F(SupervisorHostTest, TheThreadThatStartedTheTreeHasEnded) {
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  ASSERT_TRUE(supervisor.ok()) << supervisor.status();
  absl::StatusOr<Tree> tree;
  std::string thread;
  std::thread([&] {
    thread = absl::StrCat("/proc/self/task/", gettid());
    tree = supervisor->Spawn(Command{.argv = {"sleep", "600"}});
  }).join();
  ASSERT_TRUE(tree.ok()) << tree.status();
  // What the kernel sends to the children of a thread that ends, it has sent by
  // then; one that has been sent a signal does not sleep.
  EXPECT_TRUE(
      rig::Eventually([&] { return !std::filesystem::exists(thread); }));
  EXPECT_TRUE(rig::Eventually(
      [&] { return rig::SleepsIn(tree->leader(), "nanosleep"); }));
  EXPECT_EQ(tree->Wait(absl::ZeroDuration()).value(), false);
}

TEST_F(SupervisorHostTest, ASupervisorInEachThread) {
  std::vector<std::thread> threads;
  std::vector<std::string> texts(4);
  for (std::string& text : texts) {
    threads.emplace_back([&text] {
      for (int i = 0; i < 10 && text.empty(); ++i) text = LeakAndEnd();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(texts, ::testing::Each(""));
}

// However few descriptors are left, a start works or leaves nothing: neither a
// process nor a leaf.
TEST_F(SupervisorHostTest, EveryNumberOfDescriptorsThatAreLeft) {
  auto start_with = [](rlim_t limit) -> std::string {
    rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
    if (!supervisor.ok()) return supervisor.status().ToString();
    close(0);
    rlimit low{limit, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    absl::StatusOr<Tree> tree =
        supervisor->Spawn(Command{.argv = {"sleep", "600"}});
    setrlimit(RLIMIT_NOFILE, &before);
    if (tree.ok()) {
      if (!tree->Kill().ok()) return "cannot be killed";
      return tree->Wait(absl::Seconds(60)).value() ? "" : "has not ended";
    }
    // But for its guardian.
    supervisor = absl::CancelledError();
    if (waitpid(-1, nullptr, WNOHANG) >= 0) return "a process is left";
    return rig::LeftLeaves().empty() ? "" : "a leaf is left";
  };
  for (rlim_t limit = 3; limit < 30; ++limit) {
    EXPECT_EQ(InChild([&] { return start_with(limit); }), "") << limit;
  }
}

TEST_F(SupervisorHostTest, AHundredTreesLeaveNoDescriptor) {
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  ASSERT_TRUE(supervisor.ok()) << supervisor.status();
  std::map<int, std::string> before;
  for (int i = 0; i < 100; ++i) {
    absl::StatusOr<Tree> tree = supervisor->Spawn(
        Command{.argv = {i % 2 == 0 ? "true" : "no-such-program"},
                .stdin_ = Stream::Null()});
    EXPECT_EQ(tree.ok(), i % 2 == 0) << tree.status();
    if (tree.ok()) {
      EXPECT_TRUE(WaitForEnd(*tree));
    }
    // From the first on there is a guardian.
    if (i == 1) before = rig::OpenFds();
  }
  EXPECT_EQ(rig::OpenFds(), before);
}

}  // namespace
}  // namespace treekill
