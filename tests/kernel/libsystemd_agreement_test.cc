// libsystemd's answers to the two questions that we answer without it.
#include <dlfcn.h>

#include <cstdlib>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/proc.h"
#include "treekill/systemd/delegation.h"

namespace treekill {
namespace {

class LibsystemdAgreementTest : public KernelTest {
 protected:
  void SetUp() override {
    library_ = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_NODELETE);
    ASSERT_NE(library_, nullptr) << dlerror() << "; apt install libsystemd0";
    KernelTest::SetUp();
  }

  void TearDown() override {
    KernelTest::TearDown();
    if (library_ != nullptr) dlclose(library_);
  }

  template <typename Function>
  Function* Find(const char* name) {
    auto* function = reinterpret_cast<Function*>(dlsym(library_, name));
    EXPECT_NE(function, nullptr) << name;
    return function;
  }

  // What sd_pid_get_cgroup(3) says, or -errno as text.
  std::string CgroupBySystemd(pid_t pid) {
    char* cgroup = nullptr;
    int result = Find<int(pid_t, char**)>("sd_pid_get_cgroup")(pid, &cgroup);
    std::string text = result < 0 ? absl::StrCat(result) : cgroup;
    free(cgroup);
    return text;
  }

  static std::string CgroupByUs(pid_t pid) {
    absl::StatusOr<std::string> cgroup = kernel::ReadCgroupOfProcess(pid);
    return cgroup.ok() ? *cgroup : cgroup.status().ToString();
  }

 private:
  void* library_ = nullptr;
};

TEST_F(LibsystemdAgreementTest, OnWhetherSystemdRuns) {
  int booted = Find<int()>("sd_booted")();
  ASSERT_GE(booted, 0);
  EXPECT_EQ(systemd::IsRunning(), booted > 0);
}

TEST_F(LibsystemdAgreementTest, OnOurOwnCgroup) {
  EXPECT_EQ(CgroupByUs(0), CgroupBySystemd(0));
  EXPECT_EQ(CgroupByUs(getpid()), CgroupBySystemd(getpid()));
}

TEST_F(LibsystemdAgreementTest, OnTheLeaderOfATree) {
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  ASSERT_TRUE(supervisor.ok()) << supervisor.status();
  absl::StatusOr<Tree> tree = supervisor->Spawn(
      Command{.argv = {"sleep", "600"}}, TreeOptions{.name = "a@b:c+d"});
  ASSERT_TRUE(tree.ok()) << tree.status();
  std::string cgroup = CgroupBySystemd(tree->leader());
  EXPECT_EQ(CgroupByUs(tree->leader()), cgroup);
  EXPECT_THAT(tree->leaf(), ::testing::EndsWith(cgroup));
}

TEST_F(LibsystemdAgreementTest, OnAProcessOfTheRootCgroup) {
  EXPECT_EQ(CgroupByUs(1), CgroupBySystemd(1));
}

TEST_F(LibsystemdAgreementTest, OnAProcessThatIsNotThere) {
  constexpr pid_t kNobody = 1 << 30;
  EXPECT_EQ(CgroupBySystemd(kNobody), absl::StrCat(-ESRCH));
  EXPECT_FALSE(kernel::ReadCgroupOfProcess(kNobody).ok());
}

}  // namespace
}  // namespace treekill
