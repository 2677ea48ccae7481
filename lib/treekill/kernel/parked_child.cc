#include "treekill/kernel/parked_child.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "treekill/kernel/channel.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::kernel {
namespace {

struct Ends {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Ends> MakePipe() {
  int fds[2];
  if (Pipe(fds) < 0) return ErrnoStatus(errno, "pipe2", "cannot make a pipe");
  return Ends{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParkedChild>> ParkedChild::Start(
    const ChildPlan& plan) {
  absl::StatusOr<Channel> release = MakeChannel();
  if (!release.ok()) return release.status();
  absl::StatusOr<Ends> running = MakePipe();
  if (!running.ok()) return running.status();
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
  parked->running_ = std::move(running->read);
  return parked;
}

ParkedChild::~ParkedChild() {
  if (!child_.pidfd.valid()) return;
  (void)SendSignal(child_.pidfd.get(), child_.pid, SIGKILL);
  (void)ReapChild(child_.pidfd.get());
}

absl::StatusOr<Child> ParkedChild::Release() {
  absl::Status sent = Send(release_.get(), "", 1, {}, absl::ZeroDuration());
  // One that was killed reads no more, and is handed over all the same.
  if (!sent.ok() && StatusErrno(sent) != EPIPE) return sent;
  char nothing;
  if (Read(running_.get(), &nothing, 1) < 0) {
    return ErrnoStatus(errno, "read", "cannot wait for the command to start");
  }
  Child child = std::move(child_);
  child.failure = memory_.failure;
  if (child.failure.stage != ChildStage::kNone) {
    absl::Status reaped = ReapChild(child.pidfd.get());
    if (!reaped.ok()) return reaped;
  }
  return child;
}

}  // namespace treekill::kernel
