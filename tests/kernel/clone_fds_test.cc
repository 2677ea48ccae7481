// Which descriptors a new process gets.
#include <sys/resource.h>

#include <climits>
#include <filesystem>
#include <set>

#include "absl/strings/str_join.h"
#include "tests/kernel/fixture.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::kernel {
namespace {

using ::testing::Values;

// Number and target of every descriptor of a process.
std::map<int, std::string> OpenIn(pid_t pid) {
  std::map<int, std::string> open;
  std::error_code error;
  for (int fd = 0; fd < 300; ++fd) {
    std::string link = absl::StrCat("/proc/", pid, "/fd/", fd);
    std::filesystem::path target = std::filesystem::read_symlink(link, error);
    if (!error) open[fd] = target;
  }
  return open;
}

class CloneFdsTest : public KernelTest,
                     public ::testing::WithParamInterface<CloneForm> {
 protected:
  absl::StatusOr<Child> Start(std::vector<FdMove> fds,
                              bool close_other_fds = true) {
    const char* argv[] = {"/bin/sleep", "600", nullptr};
    const char* environment[] = {nullptr};
    ChildPlan plan;
    plan.argv = argv;
    const char* paths[] = {argv[0], nullptr};
    plan.paths = paths;
    plan.envp = environment;
    plan.fds = fds.data();
    plan.fd_count = static_cast<int>(fds.size());
    plan.close_other_fds = close_other_fds;
    return Clone(plan, -1, GetParam());
  }

  // What a child that sleeps has open.
  std::map<int, std::string> Inspect(std::vector<FdMove> fds,
                                     bool close_other_fds = true) {
    absl::StatusOr<Child> child = Start(std::move(fds), close_other_fds);
    if (!child.ok()) return {{-1, child.status().ToString()}};
    if (child->failure.stage != ChildStage::kNone) {
      return {{-1, strerror(child->failure.error)}};
    }
    WaitForSleep(child->pid);
    std::map<int, std::string> open = OpenIn(child->pid);
    EXPECT_TRUE(SendSignal(child->pidfd.get(), child->pid, SIGKILL).ok());
    EXPECT_TRUE(ReapChild(child->pidfd.get()).ok());
    return open;
  }

  ChildFailure Fail(std::vector<FdMove> fds) {
    absl::StatusOr<Child> child = Start(std::move(fds));
    EXPECT_TRUE(child.ok()) << child.status();
    return child.ok() ? child->failure : ChildFailure();
  }

  // Opens a file of that name at that number.
  void OpenAt(const std::string& name, int number, int flags = 0) {
    UniqueFd fd(open(directory_.File(name).c_str(), O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(dup3(fd.get(), number, flags), number);
    opened_.push_back(UniqueFd(number));
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  void TearDown() override {
    opened_.clear();
    KernelTest::TearDown();
  }

  rig::TempDir directory_;
  std::vector<UniqueFd> opened_;
};

INSTANTIATE_TEST_SUITE_P(Forms, CloneFdsTest,
                         Values(CloneForm::kSharedMemory, CloneForm::kCopy),
                         [](const auto& info) {
                           return info.param == CloneForm::kCopy
                                      ? "Copy"
                                      : "SharedMemory";
                         });

TEST_P(CloneFdsTest, ExactlyTheWantedOnes) {
  OpenAt("a", 50);
  OpenAt("b", 61);
  OpenAt("c", 70, O_CLOEXEC);
  OpenAt("d", 90);
  std::map<int, std::string> open = Inspect({{61, 7}, {70, 200}});
  std::map<int, std::string> own = OpenIn(getpid());
  std::map<int, std::string> wanted = {{7, File("b")}, {200, File("c")}};
  for (int fd : {0, 1, 2}) {
    if (own.count(fd) > 0) wanted[fd] = own[fd];
  }
  EXPECT_EQ(open, wanted);
}

TEST_P(CloneFdsTest, EverythingThatIsNotCloseOnExecIfToldSo) {
  OpenAt("a", 50);
  OpenAt("b", 61, O_CLOEXEC);
  std::map<int, std::string> open = Inspect({}, /*close_other_fds=*/false);
  EXPECT_EQ(open[50], File("a"));
  EXPECT_EQ(open.count(61), 0u);
}

TEST_P(CloneFdsTest, NothingOfTheShuffleStaysOpen) {
  OpenAt("a", 50);
  std::map<int, std::string> open =
      Inspect({{50, 0}, {50, 60}}, /*close_other_fds=*/false);
  std::set<int> numbers;
  for (const auto& [number, target] : open) {
    if (target == File("a")) numbers.insert(number);
  }
  EXPECT_EQ(numbers, (std::set<int>{0, 50, 60}));
}

TEST_P(CloneFdsTest, ACircle) {
  OpenAt("a", 50);
  OpenAt("b", 51);
  OpenAt("c", 52);
  std::map<int, std::string> open = Inspect({{51, 50}, {52, 51}, {50, 52}});
  EXPECT_EQ(open[50], File("b"));
  EXPECT_EQ(open[51], File("c"));
  EXPECT_EQ(open[52], File("a"));
}

TEST_P(CloneFdsTest, OneSourceForManyTargets) {
  OpenAt("a", 50);
  std::map<int, std::string> open =
      Inspect({{50, 0}, {50, 1}, {50, 2}, {50, 50}, {50, 51}});
  for (int fd : {0, 1, 2, 50, 51}) EXPECT_EQ(open[fd], File("a")) << fd;
  EXPECT_EQ(open.size(), 5u);
}

TEST_P(CloneFdsTest, TheSameNumberOnBothSidesIsPassedOn) {
  OpenAt("a", 50, O_CLOEXEC);
  EXPECT_EQ(Inspect({{50, 50}})[50], File("a"));
}

TEST_P(CloneFdsTest, TheCallersOwnStayAsTheyAre) {
  OpenAt("a", 50, O_CLOEXEC);
  OpenAt("b", 51);
  std::map<int, std::string> before = rig::OpenFds();
  Inspect({{51, 50}, {50, 51}});
  Inspect({{50, 50}});
  EXPECT_EQ(rig::OpenFds(), before);
  EXPECT_EQ(fcntl(50, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(51, F_GETFD), 0);
}

TEST_P(CloneFdsTest, ADescriptorThatIsNotOpen) {
  for (std::vector<FdMove> fds :
       {std::vector<FdMove>{{299, 5}}, {{299, 299}}, {{5, 0}, {-5, 7}}}) {
    ChildFailure failure = Fail(fds);
    EXPECT_EQ(failure.stage, ChildStage::kDescriptors);
    EXPECT_EQ(failure.error, EBADF) << strerror(failure.error);
  }
}

TEST_P(CloneFdsTest, ANumberBeyondTheLimit) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  OpenAt("a", 50);
  for (int number : {static_cast<int>(limit.rlim_cur), INT_MAX}) {
    EXPECT_EQ(Fail({{50, number}}).stage, ChildStage::kDescriptors) << number;
  }
}

TEST_P(CloneFdsTest, ACallerWithClosedStandardStreams) {
  OpenAt("a", 50);
  EXPECT_EQ(InChild([&]() -> std::string {
              for (int fd : {0, 1, 2}) close(fd);
              absl::StatusOr<Child> child = Start({{50, 1}});
              if (!child.ok()) return child.status().ToString();
              if (child->failure.stage != ChildStage::kNone) return "failed";
              WaitForSleep(child->pid);
              std::map<int, std::string> open = OpenIn(child->pid);
              (void)SendSignal(child->pidfd.get(), child->pid, SIGKILL);
              (void)ReapChild(child->pidfd.get());
              if (child->pidfd.get() < 3) return "pidfd among the streams";
              if (open != std::map<int, std::string>{{1, File("a")}}) {
                return absl::StrJoin(open, ", ", absl::PairFormatter(" "));
              }
              return "";
            }),
            "");
}

TEST_P(CloneFdsTest, SwappedStandardStreams) {
  OpenAt("a", 50);
  OpenAt("b", 51);
  EXPECT_EQ(
      InChild([&]() -> std::string {
        dup2(50, 0);
        dup2(51, 1);
        close(2);
        std::map<int, std::string> open = Inspect({{1, 0}, {0, 1}, {0, 2}});
        if (open[0] != File("b")) return "0: " + open[0];
        if (open[1] != File("a")) return "1: " + open[1];
        if (open[2] != File("a")) return "2: " + open[2];
        return open.size() == 3 ? "" : "more than three";
      }),
      "");
}

TEST_P(CloneFdsTest, ThePidfdIsCloseOnExec) {
  absl::StatusOr<Child> child = Start({});
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(fcntl(child->pidfd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_TRUE(SendSignal(child->pidfd.get(), child->pid, SIGKILL).ok());
  EXPECT_TRUE(ReapChild(child->pidfd.get()).ok());
}

}  // namespace
}  // namespace treekill::kernel
