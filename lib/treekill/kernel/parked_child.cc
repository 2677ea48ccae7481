#include "treekill/kernel/parked_child.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "treekill/kernel/channel.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::kernel {
namespace {

// The kernel clears it at the exec, and wakes who waits here.
void WaitUntilIdle(const std::atomic<uint32_t>& busy) {
  while (busy.load() != 0) {
    syscall(SYS_futex, &busy, FUTEX_WAIT, 1, nullptr, nullptr, 0);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParkedChild>> ParkedChild::Start(
    const ChildPlan& plan) {
  if (!kSharesMemory) {
    return absl::UnimplementedError(
        "a process that waits to be moved to a scope cannot be made on this "
        "architecture");
  }
  absl::StatusOr<Channel> release = MakeChannel();
  if (!release.ok()) return release.status();
  std::unique_ptr<ParkedChild> parked(new ParkedChild);
  parked->memory_.plan = plan;
  parked->memory_.plan.park_fd = release->far.get();
  parked->memory_.plan.park_ms = -1;
  parked->memory_.plan.park_name = "treekill-parked";
  parked->memory_.plan.park_bound = true;
  parked->memory_.plan.parent = getpid();
  absl::StatusOr<Child> child = CloneParked(&parked->memory_);
  if (!child.ok()) return child.status();
  parked->child_ = *std::move(child);
  parked->release_ = std::move(release->near);
  return parked;
}

ParkedChild::~ParkedChild() {
  if (!child_.pidfd.valid()) return;
  (void)SendSignal(child_.pidfd.get(), child_.pid, SIGKILL);
  (void)ReapChild(child_.pidfd.get());
}

absl::StatusOr<Child> ParkedChild::Release() {
  absl::Status sent = Send(release_.get(), "", 1, {}, absl::ZeroDuration());
  // One that was killed reads no more, and is handed over all the same. The
  // second is what one says whose socket is just being closed.
  int error = StatusErrno(sent);
  if (!sent.ok() && error != EPIPE && error != ECONNREFUSED) return sent;
  WaitUntilIdle(memory_.busy);
  Child child = std::move(child_);
  child.failure = memory_.failure;
  if (child.failure.stage != ChildStage::kNone) {
    absl::Status reaped = ReapChild(child.pidfd.get());
    if (!reaped.ok()) return reaped;
  }
  return child;
}

}  // namespace treekill::kernel
