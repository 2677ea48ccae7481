// Leaves of owners who live or are dead, made by hand.
#ifndef TREEKILL_TESTS_KERNEL_GC_FIXTURE_H_
#define TREEKILL_TESTS_KERNEL_GC_FIXTURE_H_

#include <string>
#include <vector>

#include "tests/kernel/fixture.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/gc.h"
#include "treekill/kernel/syscalls.h"

namespace treekill {

// So many descriptors are enough to collect with.
inline constexpr rlim_t kEnough = 24;

class GcTest : public KernelTest {
 protected:
  void TearDown() override {
    kernel::SetFaultHookForTesting(nullptr);
    for (pid_t pid : children_) kill(pid, SIGKILL);
    for (pid_t pid : children_) waitpid(pid, nullptr, 0);
    for (auto leaf = leaves_.rbegin(); leaf != leaves_.rend(); ++leaf) {
      rmdir(leaf->c_str());
    }
    KernelTest::TearDown();
  }

  // Makes a leaf of that owner below `parent` ("": the test's cgroup).
  std::string MakeLeaf(const containment::LeafOwner& owner,
                       const std::string& name = "",
                       const std::string& parent = "") {
    leaves_.push_back(absl::StrCat(parent.empty() ? own() : parent, "/",
                                   containment::FormatLeafName({name, owner})));
    EXPECT_EQ(mkdir(leaves_.back().c_str(), 0755), 0) << leaves_.back();
    return leaves_.back();
  }

  pid_t StartSleeper() {
    pid_t pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    children_.push_back(pid);
    return pid;
  }

  pid_t SleepIn(const std::string& cgroup) {
    pid_t pid = StartSleeper();
    rig::WriteAll(cgroup + "/cgroup.procs", absl::StrCat(pid));
    return pid;
  }

  // A process that was and is no more.
  static containment::LeafOwner Dead() {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    containment::LeafOwner owner = containment::ThisProcess();
    owner.pid = pid;
    waitpid(pid, nullptr, 0);
    return owner;
  }

  static absl::StatusOr<containment::OwnerState> TryOwnerOf(
      const std::string& leaf) {
    absl::StatusOr<kernel::Cgroup> cgroup = kernel::Cgroup::Open(leaf);
    if (!cgroup.ok()) return cgroup.status();
    std::string name = std::filesystem::path(leaf).filename();
    absl::StatusOr<containment::OwnerSight> sight =
        containment::SeeOwner(*cgroup, containment::ParseLeafName(name)->owner);
    if (!sight.ok()) return sight.status();
    return sight->kept ? containment::OwnerState::kKept : sight->state;
  }

  static containment::OwnerState OwnerOf(const std::string& leaf) {
    absl::StatusOr<containment::OwnerState> state = TryOwnerOf(leaf);
    EXPECT_TRUE(state.ok()) << state.status();
    return state.value_or(containment::OwnerState::kAlive);
  }

  std::vector<Garbage> Collect(GarbageOptions options = {}) {
    options.below = own();
    absl::StatusOr<std::vector<Garbage>> garbage = CollectGarbage(options);
    EXPECT_TRUE(garbage.ok()) << garbage.status();
    return garbage.ok() ? *std::move(garbage) : std::vector<Garbage>();
  }

  // With no more than that many descriptors to be had.
  absl::StatusOr<std::vector<Garbage>> CollectWith(rlim_t descriptors) {
    rig::FewDescriptors few(descriptors);
    return CollectGarbage({.below = own()});
  }

  std::vector<pid_t> children_;
  std::vector<std::string> leaves_;
};

}  // namespace treekill

#endif  // TREEKILL_TESTS_KERNEL_GC_FIXTURE_H_
