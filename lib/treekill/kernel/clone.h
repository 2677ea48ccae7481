// A new process born inside a cgroup: clone3(2) with CLONE_INTO_CGROUP and
// CLONE_PIDFD (Linux 5.7). Where that is not to be had (an older kernel, a
// seccomp filter) it is born by clone(2) and moves itself there before it does
// anything else.
#ifndef TREEKILL_KERNEL_CLONE_H_
#define TREEKILL_KERNEL_CLONE_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

enum class CloneForm {
  // kSharedMemory where this build has it, else kCopy.
  kBest,
  // CLONE_VM: costs the same however large the parent is. The child runs on a
  // stack of its own; x86-64 and aarch64 only.
  kSharedMemory,
  // A copy of the parent, as fork(2): 8 ms for each GiB that it has touched.
  kCopy,
};

#if defined(__x86_64__) || defined(__aarch64__)
inline constexpr bool kSharesMemory = true;
#else
inline constexpr bool kSharesMemory = false;
#endif

struct Child {
  pid_t pid = 0;
  UniqueFd pidfd;
  // Where the child gave up before exec: it has then been reaped already, and
  // `pidfd` is of no more use.
  ChildFailure failure;
};

// Starts a process as `plan` says, without parking, in the cgroup behind
// `cgroup_fd` (-1: in ours). Returns when it has execed or failed to: the
// calling thread, and no other, is suspended until then (CLONE_VFORK), as with
// posix_spawn(3). Thread-safe. A Status means that there is no new process.
absl::StatusOr<Child> Clone(const ChildPlan& plan, int cgroup_fd,
                            CloneForm form = CloneForm::kBest);

// Starts a process that waits as the plan's `park_fd` says, and then does the
// rest. Returns at once. Until it has execed or is dead it works on the memory
// of this process, where `memory` and all that the plan points to must stay as
// they are; what went wrong is in `memory` when it has exited with 127.
//
// It has every signal blocked and, with the plan's `new_process_group`, has
// left ours when this returns. If it ends before it has execed the parent is
// sent no SIGCHLD, and wait(2) for any child passes over it; either way it is
// reaped by ReapChild(). Where memory cannot be shared it is a copy of this
// process.
struct ParkedMemory {
  // 0 when it has execed or is dead; see set_tid_address(2). Stays 1 where
  // memory is not shared.
  std::atomic<uint32_t> busy = 1;
  ChildPlan plan;
  ChildFailure failure;
  ChildEntry entry;
  alignas(16) char stack[8 * 1024];
};
absl::StatusOr<Child> CloneParked(ParkedMemory* memory);

// Starts a process that works on the memory and the descriptors of this one,
// and must be killed before `memory` goes. `run` is bound to what child.h says
// of a child, and does not return. It has every signal blocked; the parent is
// sent no SIGCHLD, and wait(2) for any child passes over it: it is reaped by
// ReapChild(). kUnimplemented unless kSharesMemory.
struct HelperMemory {
  void (*run)(void* argument) = nullptr;
  void* argument = nullptr;
  alignas(16) char stack[8 * 1024];
};
absl::StatusOr<Child> CloneHelper(HelperMemory* memory);

// OK when clone3(2) is to be had here, and knows cgroups; starts nothing.
absl::Status ProbeCloneIntoCgroup();

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_CLONE_H_
