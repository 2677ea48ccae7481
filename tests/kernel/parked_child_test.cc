#include "treekill/kernel/parked_child.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tests/rig/rig.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"

namespace treekill::kernel {
namespace {

class ParkedChildTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(rig::OpenFds(), before_); }

  std::unique_ptr<ParkedChild> Start(const char* program) {
    paths_[0] = argv_[0] = program;
    plan_ = {.paths = paths_, .argv = argv_, .envp = argv_ + 1};
    absl::StatusOr<std::unique_ptr<ParkedChild>> parked =
        ParkedChild::Start(plan_);
    EXPECT_TRUE(parked.ok()) << parked.status();
    return parked.ok() ? *std::move(parked) : nullptr;
  }

 private:
  const std::map<int, std::string> before_ = rig::OpenFds();
  const char* paths_[2] = {nullptr, nullptr};
  const char* argv_[2] = {nullptr, nullptr};
  ChildPlan plan_;
};

TEST_F(ParkedChildTest, ItWaitsUntilItIsReleased) {
  std::unique_ptr<ParkedChild> parked = Start("/bin/false");
  EXPECT_TRUE(rig::Eventually([&] {
    std::optional<ProcessStat> stat = ReadProcessStat(parked->pid());
    return stat.has_value() && stat->comm == "treekill-parked" &&
           stat->state == 'S';
  }));
  absl::StatusOr<Child> child = parked->Release();
  ASSERT_TRUE(child.ok()) << child.status();
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, child->pid, &info, WEXITED), 0);
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_status, 1);
}

TEST_F(ParkedChildTest, WhyItDidNotExecComesBack) {
  std::unique_ptr<ParkedChild> parked = Start("/no/such/program");
  absl::StatusOr<Child> child = parked->Release();
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(child->failure.stage, ChildStage::kExec);
  EXPECT_EQ(child->failure.error, ENOENT);
  EXPECT_LT(waitpid(child->pid, nullptr, __WALL), 0) << "it was not reaped";
}

TEST_F(ParkedChildTest, OneThatIsNotReleasedDies) {
  std::unique_ptr<ParkedChild> parked = Start("/bin/true");
  pid_t pid = parked->pid();
  parked.reset();
  EXPECT_LT(waitpid(pid, nullptr, __WALL), 0) << "it was not reaped";
}

TEST_F(ParkedChildTest, OneThatWasKilledIsHandedOver) {
  std::unique_ptr<ParkedChild> parked = Start("/bin/true");
  ASSERT_EQ(kill(parked->pid(), SIGKILL), 0);
  absl::StatusOr<Child> child = parked->Release();
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(child->failure.stage, ChildStage::kNone);
  EXPECT_TRUE(ReapChild(child->pidfd.get()).ok());
}

TEST_F(ParkedChildTest, ItDiesWithItsParent) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  pid_t parent = fork();
  if (parent == 0) {
    std::unique_ptr<ParkedChild> parked = Start("/bin/true");
    pid_t pid = parked->pid();
    _exit(write(fds[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
  }
  pid_t pid = 0;
  ASSERT_EQ(read(fds[0], &pid, sizeof(pid)), ssize_t{sizeof(pid)});
  ASSERT_EQ(waitpid(parent, nullptr, 0), parent);
  close(fds[0]);
  close(fds[1]);
  EXPECT_TRUE(rig::Eventually([&] {
    std::optional<ProcessStat> stat = ReadProcessStat(pid);
    return !stat.has_value() || stat->IsDead();
  }));
}

}  // namespace
}  // namespace treekill::kernel
