#include "treekill/guardian/reaper_client.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/guardian/client.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::guardian {
namespace {

// A reaper that does not read for that long does not work.
constexpr absl::Duration kPatience = absl::Milliseconds(100);

// Above every number that the command is to find a descriptor at.
absl::StatusOr<kernel::UniqueFd> Above(const kernel::ChildPlan& plan, int fd) {
  int least = plan.fd_count > 0 ? plan.fds[plan.fd_count - 1].to + 1 : 0;
  kernel::UniqueFd copy(
      fcntl(fd, F_DUPFD_CLOEXEC, std::max(least, STDERR_FILENO + 1)));
  if (copy.valid()) return copy;
  return kernel::ErrnoStatus(errno, "fcntl", "no descriptor for the reaper");
}

absl::StatusOr<kernel::Child> FailureOf(const LeaderNote& note) {
  kernel::Child child;
  child.failure = note.failure;
  if (note.failure.stage != kernel::ChildStage::kNone) return child;
  return kernel::ErrnoStatus(note.error, note.call,
                             "the reaper cannot start it");
}

}  // namespace

absl::StatusOr<kernel::Child> ReaperClient::Start(
    const kernel::ChildPlan& plan) {
  absl::StatusOr<kernel::Channel> leader = kernel::MakeChannel();
  if (!leader.ok()) return leader.status();
  absl::StatusOr<kernel::Channel> tree = kernel::MakeChannel();
  if (!tree.ok()) return tree.status();
  absl::StatusOr<kernel::UniqueFd> events = kernel::Duplicate(tree->near.get());
  if (!events.ok()) return events.status();
  absl::Status launched = Launch(plan, leader->far.get(), tree->far.get());
  if (!launched.ok()) {
    return kernel::WithContext(launched, "cannot start the reaper");
  }
  leader_channel_ = std::move(leader->near);
  tree_channel_ = std::move(tree->near);
  events_ = *std::move(events);
  leader->far.reset();
  tree->far.reset();
  absl::StatusOr<kernel::Child> child = AwaitLeader();
  empty_ = !child.ok() || child->failure.stage != kernel::ChildStage::kNone;
  if (empty_) {
    // If only its descriptor could not be had, it runs.
    (void)Tell(TreeNote::kKill);
    AwaitEnd();
  }
  return child;
}

absl::Status ReaperClient::Launch(const kernel::ChildPlan& plan, int leader_end,
                                  int tree_end) {
  absl::StatusOr<std::string> program = FindProgram(form_.program);
  if (!program.ok()) return program.status();
  ReaperOrder order{.plan = plan,
                    .kill_on_death = form_.kill_on_death,
                    .drain_timeout = form_.drain_timeout};
  if (!plan.new_process_group) order.plan.process_group = getpgrp();
  absl::StatusOr<kernel::UniqueFd> self = kernel::OpenPidfd(getpid());
  if (!self.ok()) return self.status();
  absl::StatusOr<kernel::UniqueFd> packed =
      kernel::MakeMemoryFile("treekill-order", PackOrder(order));
  if (!packed.ok()) return packed.status();

  std::vector<kernel::FdMove> fds(plan.fds, plan.fds + plan.fd_count);
  std::vector<kernel::UniqueFd> own;
  std::string numbers;
  for (int fd : {leader_end, tree_end, self->get(), packed->get()}) {
    absl::StatusOr<kernel::UniqueFd> copy = Above(plan, fd);
    if (!copy.ok()) return copy.status();
    absl::StrAppend(&numbers, own.empty() ? "" : " ", copy->get());
    fds.push_back({copy->get(), copy->get()});
    own.push_back(*std::move(copy));
  }
  std::sort(fds.begin(), fds.end(),
            [](const kernel::FdMove& a, const kernel::FdMove& b) {
              return a.to < b.to;
            });
  const std::string command_line =
      absl::StrCat(kReaperCommandLine, getpid(), ", holds its command");
  const char* const paths[] = {program->c_str(), nullptr};
  const char* const argv[] = {command_line.c_str(), numbers.c_str(), nullptr};
  const char* const environment[] = {nullptr};
  kernel::ChildPlan launch = {.new_process_group = true,
                              .fds = fds.data(),
                              .fd_count = static_cast<int>(fds.size()),
                              .close_other_fds = plan.close_other_fds,
                              .keep_ignored = plan.keep_ignored,
                              .blocked = kernel::kEverySignal,
                              .paths = paths,
                              .argv = argv,
                              .envp = environment};
  absl::StatusOr<kernel::Child> child = kernel::Clone(launch, /*cgroup_fd=*/-1);
  if (!child.ok()) return child.status();
  if (child->failure.stage != kernel::ChildStage::kNone) {
    // By another name than the command's own: that one has not failed.
    return kernel::ErrnoStatus(child->failure.error, "exec", *program);
  }
  outer_ = *std::move(child);
  return absl::OkStatus();
}

// For as long as it takes to execute the command, as it would be without a
// reaper.
absl::StatusOr<kernel::Child> ReaperClient::AwaitLeader() {
  pollfd ready{leader_channel_.get(), POLLIN, 0};
  while (kernel::Poll(&ready, 1, /*timeout_ms=*/-1) < 0 && errno == EINTR) {
  }
  LeaderNote note;
  absl::StatusOr<kernel::Received> received =
      kernel::Receive(leader_channel_.get(), &note, sizeof(note));
  if (!received.ok()) return received.status();
  if (received->size != sizeof(note)) {
    return absl::UnavailableError("the reaper has ended");
  }
  inner_ = note.reaper;
  if (note.kind != LeaderNote::Kind::kStarted) return FailureOf(note);
  kernel::Child child;
  child.pid = note.pid;
  if (received->fds.size() == 1) {
    child.pidfd = std::move(received->fds[0]);
    return child;
  }
  // No room for the descriptor; an exited one is still there to be reaped.
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(note.pid);
  if (!pidfd.ok()) return pidfd.status();
  child.pidfd = *std::move(pidfd);
  return child;
}

ReaperClient::~ReaperClient() {
  if (owner_ != getpid()) return;
  leader_channel_.reset();
  tree_channel_.reset();
  events_.reset();
  AwaitEnd();
}

void ReaperClient::AwaitEnd() {
  if (!outer_.pidfd.valid()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  (void)kernel::ReapChild(outer_.pidfd.get());
  outer_ = kernel::Child();
}

void ReaperClient::SetLeader(pid_t pid, int pidfd) {
  leader_ = pid;
  leader_pidfd_ = pidfd;
}

absl::Status ReaperClient::Tell(TreeNote note) const {
  return kernel::Send(tree_channel_.get(), &note, sizeof(note), {}, kPatience);
}

void ReaperClient::TellRest(const RestOfTeardown& rest) {
  Note note = GraceNote(/*id=*/0, rest);
  (void)kernel::Send(tree_channel_.get(), &note.message, sizeof(note.message),
                     {}, kPatience);
}

bool ReaperClient::LeaderHasEnded() {
  while (!leader_end_.has_value() && !leader_lost_) {
    LeaderNote note;
    absl::StatusOr<kernel::Received> received =
        kernel::Receive(leader_channel_.get(), &note, sizeof(note));
    if (kernel::StatusErrno(received.status()) == EAGAIN) return false;
    if (!received.ok() || received->size != sizeof(note)) {
      // The reaper was killed, and the leader with it, but for one that the
      // kernel has let forget its parent (a setuid program).
      (void)kernel::SendSignal(leader_pidfd_, leader_, SIGKILL);
      leader_lost_ = true;
    } else if (note.kind == LeaderNote::Kind::kStopped) {
      leader_stop_ = note.end.value;
    } else if (note.kind == LeaderNote::Kind::kEnded) {
      leader_end_ = note.end;
    }
  }
  return true;
}

absl::StatusOr<std::optional<kernel::ChildEnd>> ReaperClient::PollLeaderEnd(
    int pidfd, bool reap) {
  LeaderHasEnded();
  // If we adopt orphans, it has become our child.
  if (leader_lost_) return kernel::PollChildEnd(pidfd, reap);
  return leader_end_;
}

int ReaperClient::PollLeaderStop(int) {
  LeaderHasEnded();
  return std::exchange(leader_stop_, 0);
}

absl::StatusOr<bool> ReaperClient::IsEmpty() {
  while (!empty_ && events_.valid()) {
    TreeNote note{};
    absl::StatusOr<kernel::Received> received =
        kernel::Receive(events_.get(), &note, sizeof(note));
    if (kernel::StatusErrno(received.status()) == EAGAIN) break;
    if (!received.ok() || received->size != sizeof(note)) {
      // It would be readable for ever.
      events_.reset();
      lost_ = true;
    } else {
      empty_ = note == TreeNote::kEmpty;
      refused_ = note == TreeNote::kRefused;
    }
  }
  if (!lost_ || form_.adopts_orphans) return empty_ || lost_;
  return absl::UnavailableError(
      "the reaper was killed: what the command has started may be alive");
}

absl::StatusOr<std::vector<pid_t>> ReaperClient::Members() {
  return descendants().Pids();
}

containment::SignalRound ReaperClient::Signal(int signal, pid_t only_group) {
  return descendants().Signal(signal, only_group, leader_);
}

absl::Status ReaperClient::Kill() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!outer_.pidfd.valid()) return absl::OkStatus();
  if (Tell(TreeNote::kKill).ok()) return absl::OkStatus();
  return descendants().Signal(SIGKILL, /*only_group=*/0, leader_).error;
}

absl::Status ReaperClient::Remove() {
  absl::StatusOr<bool> empty = IsEmpty();
  if (!empty.ok()) return empty.status();
  if (!*empty) {
    return kernel::ErrnoStatus(EBUSY, "waitid", "a process of it is alive");
  }
  AwaitEnd();
  return absl::OkStatus();
}

void ReaperClient::GiveUp() {
  if (!outer_.pidfd.valid()) return;
  (void)Tell(TreeNote::kGiveUp);
  AwaitEnd();
}

}  // namespace treekill::guardian
