// What the tests of the guardian share.
#ifndef TREEKILL_TESTS_KERNEL_GUARDIAN_FIXTURE_H_
#define TREEKILL_TESTS_KERNEL_GUARDIAN_FIXTURE_H_

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernel/fixture.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/syscalls.h"

namespace treekill {

inline const Command kSleeper{.argv = {"sleep", "600"}};

inline std::vector<kernel::ProcessStat> ChildrenOf(pid_t parent) {
  std::vector<kernel::ProcessStat> children;
  const std::vector<pid_t> all = kernel::ListProcesses().value();
  for (pid_t pid : all) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    if (stat.has_value() && stat->parent == parent) children.push_back(*stat);
  }
  return children;
}

inline std::vector<pid_t> GuardiansOf(pid_t host) {
  std::vector<pid_t> guardians;
  for (const kernel::ProcessStat& child : ChildrenOf(host)) {
    if (child.comm == guardian::kGuardianName && !child.IsDead()) {
      guardians.push_back(child.pid);
    }
  }
  return guardians;
}

// Waits for a guardian other than `former`; 0 when none comes.
inline pid_t AwaitGuardian(pid_t host, pid_t former = 0) {
  pid_t found = 0;
  rig::Eventually([&] {
    std::vector<pid_t> guardians = GuardiansOf(host);
    if (guardians.size() == 1 && guardians[0] != former) found = guardians[0];
    return found != 0;
  });
  return found;
}

// Never 0 or less: that would be a process group.
inline void Signal(pid_t pid, int signal) {
  ASSERT_GT(pid, 1);
  EXPECT_EQ(kill(pid, signal), 0) << strerror(errno);
}

inline size_t DescriptorCount(pid_t pid) {
  std::error_code error;
  std::filesystem::directory_iterator fds(absl::StrCat("/proc/", pid, "/fd"),
                                          error);
  return std::distance(fds, std::filesystem::directory_iterator());
}

// While it lives, the calls named by `call` fail with `error`, `times` times.
class ScopedFault final {
 public:
  ScopedFault(const char* call, int error, int times = -1) {
    call_ = call;
    error_ = error;
    times_ = times;
    kernel::SetFaultHookForTesting(Inject);
  }
  ~ScopedFault() { kernel::SetFaultHookForTesting(nullptr); }
  ScopedFault(const ScopedFault&) = delete;
  ScopedFault& operator=(const ScopedFault&) = delete;

 private:
  static int Inject(const char* call, const char*) {
    if (call_ != call || times_ == 0) return 0;
    if (times_ > 0) --times_;
    return error_;
  }

  static inline std::string call_;
  static inline int error_ = 0;
  static inline int times_ = 0;
};

class GuardianTest : public KernelTest {
 protected:
  void TearDown() override {
    host_.reset();
    supervisor_.reset();
    KernelTest::TearDown();
  }

  void Create(const SupervisorOptions& options = {}) {
    supervisor_.reset();
    absl::StatusOr<Supervisor> supervisor = Supervisor::Create(options);
    ASSERT_TRUE(supervisor.ok()) << supervisor.status();
    supervisor_.emplace(*std::move(supervisor));
  }

  Tree Spawn(const Command& command, const TreeOptions& options = {}) {
    absl::StatusOr<Tree> tree = supervisor_->Spawn(command, options);
    EXPECT_TRUE(tree.ok()) << tree.status();
    return tree.ok() ? *std::move(tree) : Tree();
  }

  void Serve(absl::Duration patience) {
    absl::Duration end = kernel::MonotonicNow() + patience;
    for (absl::Duration left = patience; left > absl::ZeroDuration();
         left = end - kernel::MonotonicNow()) {
      IsReadable(supervisor_->fd(), left);
      EXPECT_TRUE(supervisor_->Dispatch().ok());
    }
  }

  // Serves until there is a guardian other than `former`; 0 for none.
  pid_t ServeUntilReplaced(pid_t former) {
    pid_t found = 0;
    rig::Eventually([&] {
      EXPECT_TRUE(supervisor_->Dispatch().ok());
      std::vector<pid_t> guardians = GuardiansOf(getpid());
      if (guardians.size() == 1 && guardians[0] != former) found = guardians[0];
      return found != 0;
    });
    return found;
  }

  // Starts the program that a test can kill, and returns its leaders.
  std::vector<pid_t> StartHost(std::vector<std::string> options,
                               const Command& command,
                               std::function<void()> prepare = nullptr) {
    options.insert(options.begin(),
                   {rig::HostPath(), "--ready=" + File("ready")});
    options.insert(options.end(), command.argv.begin(), command.argv.end());
    host_ = std::make_unique<rig::Program>(std::move(options),
                                           std::map<std::string, std::string>(),
                                           std::move(prepare));
    return ReadyMembers(File("ready"));
  }

  rig::Program& host() { return *host_; }

  // Nobody is left but this process and `others`, and no leaf.
  bool OnlyTheseAreLeft(std::vector<pid_t> others = {}) const {
    others.push_back(getpid());
    std::vector<pid_t> members = Members();
    std::sort(others.begin(), others.end());
    std::sort(members.begin(), members.end());
    return members == others && !AnyLeaf();
  }

  bool AnyLeaf() const {
    for (const auto& entry : std::filesystem::directory_iterator(own())) {
      if (entry.is_directory()) return true;
    }
    return false;
  }

  std::string File(const std::string& name) { return directory_.File(name); }

  rig::TempDir directory_;
  std::optional<Supervisor> supervisor_;
  std::unique_ptr<rig::Program> host_;
};

}  // namespace treekill

#endif  // TREEKILL_TESTS_KERNEL_GUARDIAN_FIXTURE_H_
