#include "treekill/guardian/reaper_client.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/guardian/client.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::guardian {
namespace {

// A reaper that does not read for that long does not work.
constexpr absl::Duration kPatience = absl::Milliseconds(100);
// Or does not end.
constexpr absl::Duration kEndPatience = absl::Seconds(2);

// Above every number that the command is to find a descriptor at.
absl::StatusOr<kernel::UniqueFd> Above(const kernel::ChildPlan& plan, int fd) {
  int least = plan.fd_count > 0 ? plan.fds[plan.fd_count - 1].to + 1 : 0;
  kernel::UniqueFd copy(
      fcntl(fd, F_DUPFD_CLOEXEC, std::max(least, STDERR_FILENO + 1)));
  if (copy.valid()) return copy;
  return kernel::ErrnoStatus(errno, "fcntl", "no descriptor for the reaper");
}

bool IsAlive(const kernel::Child& process) {
  return process.pidfd.valid() && !kernel::HasEnded(process.pidfd.get());
}

// Returns whether it has, within that time.
bool WaitForEnd(const kernel::Child& process, absl::Duration patience) {
  if (!process.pidfd.valid()) return true;
  return kernel::AwaitEnd(process.pidfd.get(),
                          kernel::MonotonicNow() + patience);
}

absl::StatusOr<kernel::Child> FailureOf(const LeaderNote& note) {
  kernel::Child child;
  child.failure = note.failure;
  if (note.failure.stage != kernel::ChildStage::kNone) return child;
  if (note.error == 0) {
    return absl::FailedPreconditionError(
        "the program of the guardian and the reaper is of another version");
  }
  return kernel::ErrnoStatus(note.error, note.call,
                             "the reaper cannot start it");
}

}  // namespace

absl::StatusOr<kernel::Child> ReaperClient::Start(
    const kernel::ChildPlan& plan) {
  // Without it nobody would be found who is to be signalled.
  absl::Status proc = kernel::CheckProc();
  if (!proc.ok()) return proc;
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
  // As cgroup.kill, it must not make who writes to it wait.
  fcntl(tree->near.get(), F_SETFL, O_NONBLOCK);
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
    AwaitEnd(form_.drain_timeout);
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
  numbers.resize(std::max(numbers.size(), containment::kLeaderMarkSize), ' ');
  std::sort(fds.begin(), fds.end(),
            [](const kernel::FdMove& a, const kernel::FdMove& b) {
              return a.to < b.to;
            });
  const std::string command_line = FormatReaper(getpid(), form_.tree);
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
  if (note.kind == LeaderNote::Kind::kFailed) return FailureOf(note);
  if (note.kind != LeaderNote::Kind::kStarted) {
    return absl::UnavailableError("the reaper was killed");
  }
  kernel::Child child;
  child.pid = note.pid;
  if (received->fds.size() != 2) {
    return kernel::ErrnoStatus(EMFILE, "recvmsg",
                               "no descriptor of the command");
  }
  child.pidfd = std::move(received->fds[0]);
  // By now it may be dead, as the command may.
  inner_.pid = note.reaper;
  inner_.pidfd = std::move(received->fds[1]);
  return child;
}

ReaperClient::~ReaperClient() {
  if (owner_ != getpid()) return;
  leader_channel_.reset();
  tree_channel_.reset();
  events_.reset();
  // It ends what is left, as when we had died.
  AwaitEnd(form_.drain_timeout + kEndPatience);
}

void ReaperClient::SignalReaper(int signal) const {
  for (const kernel::Child* process : {&outer_, &inner_}) {
    if (!IsAlive(*process)) continue;
    (void)kernel::SendSignal(process->pidfd.get(), process->pid, signal);
  }
}

void ReaperClient::Continue() const { SignalReaper(SIGCONT); }

void ReaperClient::AwaitEnd(absl::Duration patience) {
  if (!outer_.pidfd.valid()) return;
  Continue();
  if (!WaitForEnd(outer_, patience)) SignalReaper(SIGKILL);
  std::lock_guard<std::mutex> lock(mutex_);
  (void)kernel::ReapChild(outer_.pidfd.get());
  outer_ = kernel::Child();
}

void ReaperClient::Lose() {
  if (std::exchange(lost_, true)) return;
  SignalReaper(SIGKILL);
  for (const kernel::Child* process : {&outer_, &inner_}) {
    WaitForEnd(*process, kEndPatience);
  }
}

std::vector<pid_t> ReaperClient::processes() const {
  std::vector<pid_t> alive;
  for (const kernel::Child* process : {&outer_, &inner_}) {
    if (IsAlive(*process)) alive.push_back(process->pid);
  }
  return alive;
}

bool ReaperClient::IsReaper(pid_t pid) const {
  return (pid == outer_.pid && IsAlive(outer_)) ||
         (pid == inner_.pid && IsAlive(inner_));
}

containment::Descendants ReaperClient::descendants() const {
  return containment::Descendants(processes(),
                                  [this](pid_t pid) { return IsReaper(pid); });
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
      Lose();
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
  if (!leader_lost_) return leader_end_;
  // If we adopt orphans it has become our child; else nothing else is known.
  if (!kernel::HasEnded(pidfd)) return std::optional<kernel::ChildEnd>();
  return kernel::PollChildEnd(pidfd, reap);
}

// What has come by then; to read on would take the end from where it is
// awaited.
int ReaperClient::PollLeaderStop(int) { return std::exchange(leader_stop_, 0); }

absl::StatusOr<bool> ReaperClient::IsEmpty() {
  while (!empty_ && !lost_) {
    TreeNote note{};
    absl::StatusOr<kernel::Received> received =
        kernel::Receive(events_.get(), &note, sizeof(note));
    if (kernel::StatusErrno(received.status()) == EAGAIN) break;
    if (!received.ok() || received->size != sizeof(note)) {
      Lose();
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
  Continue();
  return descendants().Signal(signal, only_group, leader_);
}

absl::Status ReaperClient::Kill() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!outer_.pidfd.valid()) return absl::OkStatus();
  Continue();
  bool told = Tell(TreeNote::kKill).ok();
  // One that was told before, or cannot be, may not work.
  if (told && !std::exchange(kill_told_, true)) return absl::OkStatus();
  return descendants().Signal(SIGKILL, /*only_group=*/0, leader_).error;
}

absl::Status ReaperClient::Remove() {
  absl::Status busy = BusyUnlessEmpty("waitid", "a process of it is alive");
  if (!busy.ok()) return busy;
  AwaitEnd(kEndPatience);
  return absl::OkStatus();
}

void ReaperClient::GiveUp() {
  if (!outer_.pidfd.valid()) return;
  (void)Tell(TreeNote::kGiveUp);
  AwaitEnd(kEndPatience);
}

}  // namespace treekill::guardian
