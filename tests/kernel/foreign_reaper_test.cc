// A tree that is held by a reaper of another supervisor's, which is killed.
#include "treekill/guardian/foreign_reaper.h"

#include "tests/kernel/fixture.h"

namespace treekill::guardian {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ForeignReaperTest : public KernelTest {
 protected:
  // As a reaper is: a process with a child, which does not mind the signal.
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    reaper_ = fork();
    if (reaper_ == 0) {
      pid_t member = fork();
      if (member == 0) {
        while (true) pause();
      }
      [[maybe_unused]] ssize_t size = write(fds[1], &member, sizeof(member));
      while (true) pause();
    }
    EXPECT_EQ(read(fds[0], &member_, sizeof(member_)), 4);
    close(fds[0]);
    close(fds[1]);
  }

  std::unique_ptr<ForeignReaper> Open() const {
    FoundReaper found;
    found.processes.push_back(kernel::ReadProcessStat(reaper_).value());
    absl::StatusOr<std::unique_ptr<ForeignReaper>> opened =
        ForeignReaper::Open(found);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }

  void KillReaper() const {
    kill(reaper_, SIGKILL);
    EXPECT_EQ(waitpid(reaper_, nullptr, 0), reaper_);
  }

  pid_t reaper_ = 0;
  pid_t member_ = 0;
};

TEST_F(ForeignReaperTest, WhoWasSignalledIsHeldWhenTheReaperIsKilled) {
  std::unique_ptr<ForeignReaper> hold = Open();
  ASSERT_NE(hold, nullptr);
  EXPECT_EQ(hold->Signal(SIGWINCH, /*only_group=*/0).signalled, 1);
  KillReaper();
  EXPECT_EQ(hold->IsEmpty().value(), false);
  EXPECT_THAT(hold->Members().value(), ElementsAre(member_));
  // Stopped ones are continued for each signal but SIGKILL.
  EXPECT_EQ(hold->Signal(SIGWINCH, /*only_group=*/0).signalled, 1);
  EXPECT_EQ(hold->Signal(SIGKILL, member_).signalled, 0);
  EXPECT_TRUE(IsAlive(member_));
  EXPECT_TRUE(hold->Kill().ok());
  EXPECT_TRUE(rig::Eventually([&] { return *hold->IsEmpty(); }));
  EXPECT_FALSE(IsAlive(member_));
}

TEST_F(ForeignReaperTest, NobodyIsTouchedOnceItIsOver) {
  std::unique_ptr<ForeignReaper> hold = Open();
  ASSERT_NE(hold, nullptr);
  KillReaper();
  // Nobody can tell any more whose it was.
  EXPECT_EQ(hold->Signal(SIGKILL, /*only_group=*/0).signalled, 0);
  EXPECT_THAT(hold->Members().value(), IsEmpty());
  EXPECT_TRUE(IsAlive(member_));
  kill(member_, SIGKILL);
}

TEST_F(ForeignReaperTest, AnotherProcessWithItsNumberIsNone) {
  FoundReaper found;
  found.processes.push_back(kernel::ReadProcessStat(reaper_).value());
  --found.processes[0].start_time;
  EXPECT_TRUE(absl::IsNotFound(ForeignReaper::Open(found).status()));
  KillReaper();
  kill(member_, SIGKILL);
}

}  // namespace
}  // namespace treekill::guardian
