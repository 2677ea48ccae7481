#include "treekill/guardian/reaper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "treekill/containment/leaf_name.h"
#include "treekill/containment/subreaper.h"
#include "treekill/guardian/finish.h"
#include "treekill/guardian/protocol.h"
#include "treekill/guardian/reaper_protocol.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/detach.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::guardian {
namespace {

using containment::SubreaperHold;

// Between two rounds of SIGKILL; the end of a process is an event.
constexpr absl::Duration kFirstAsk = absl::Milliseconds(1);
constexpr absl::Duration kLastAsk = absl::Milliseconds(64);

// Until a supervisor that had no room for a message is told again.
constexpr int kTellAgainMs = 100;

constexpr int kFailed = 125;

struct ReaperEnds {
  kernel::UniqueFd leader_channel;
  kernel::UniqueFd tree_channel;
  kernel::UniqueFd supervisor;
  kernel::UniqueFd order;
};

// What the outer one knows of the leader. Of their two memories, one page.
struct SharedPage {
  // 0 before it was started, and when its end was told.
  std::atomic<pid_t> leader = 0;
};

// A supervisor that does not read is no reason to wait: it may be stopped.
// Returns false when there was no room.
bool Tell(const ReaperEnds& ends, const LeaderNote& note,
          const std::vector<int>& fds = {}) {
  absl::Status sent = kernel::Send(ends.leader_channel.get(), &note,
                                   sizeof(note), fds, absl::ZeroDuration());
  return kernel::StatusErrno(sent) != EAGAIN;
}

void Tell(const ReaperEnds& ends, TreeNote note) {
  (void)kernel::Send(ends.tree_channel.get(), &note, sizeof(note), {},
                     absl::ZeroDuration());
}

// There is no leader.
void Refuse(const ReaperEnds& ends, const absl::Status& why,
            const kernel::ChildFailure& failure = {}) {
  LeaderNote note{};
  note.kind = LeaderNote::Kind::kFailed;
  note.failure = failure;
  note.error = kernel::StatusErrno(why);
  std::string call = kernel::StatusCall(why);
  call.copy(note.call, sizeof(note.call) - 1);
  Tell(ends, note);
}

// Where numbers were that are not needed any more.
void ShowLeader(const containment::LeaderMark& leader, char* numbers) {
  std::string text = containment::FormatLeader(leader);
  size_t room = strlen(numbers);
  // Of a supervisor of another version.
  if (text.size() > room) return;
  text.resize(room, ' ');
  memcpy(numbers, text.data(), room);
}

class Reaper final {
 public:
  Reaper(const ReaperEnds& ends, std::unique_ptr<SubreaperHold> hold,
         SharedPage* shared)
      : ends_(ends), hold_(std::move(hold)), shared_(shared) {}

  // Returns false when there is no leader; the supervisor has been told why.
  bool StartLeader(OwnedOrder* order, char* numbers) {
    kill_on_death_ = order->order.kill_on_death;
    rest_.drain_timeout = order->order.drain_timeout;
    order->order.plan.parent = getpid();
    absl::StatusOr<kernel::UniqueFd> self = kernel::OpenPidfd(getpid());
    absl::StatusOr<kernel::Child> child =
        self.ok() ? kernel::Clone(order->order.plan, /*cgroup_fd=*/-1)
                  : self.status();
    if (!child.ok()) {
      Refuse(ends_, child.status());
      return false;
    }
    if (child->failure.stage != kernel::ChildStage::kNone) {
      Refuse(ends_, absl::OkStatus(), child->failure);
      return false;
    }
    LeaderNote note{};
    note.kind = LeaderNote::Kind::kStarted;
    note.pid = child->pid;
    note.reaper = getpid();
    shared_->leader = child->pid;
    leader_pidfd_ = std::move(child->pidfd);
    hold_->SetLeader(child->pid, leader_pidfd_.get());
    const kernel::ChildPlan& plan = order->order.plan;
    ShowLeader({.pid = child->pid,
                .process_group =
                    plan.new_process_group ? child->pid : plan.process_group,
                .session = getsid(0),
                .uid = geteuid(),
                .dies_with_parent = plan.parent_death_signal != 0},
               numbers);
    Tell(ends_, note, {leader_pidfd_.get(), self->get()});
    kernel::LetGo({ends_.leader_channel.get(), ends_.tree_channel.get(),
                   ends_.supervisor.get(), hold_->events_fd(),
                   leader_pidfd_.get()});
    // Not before: the leader would inherit it.
    kernel::RaiseDescriptorLimit();
    // A fork bomb wants all processors for itself, and its dead must be reaped
    // as fast as they come: whoever looks for the living passes them all.
    kernel::TakePrecedence();
    return true;
  }

  // In the place of one that was killed.
  void TakeOver() {
    pid_t leader = shared_->leader;
    if (leader != 0) {
      // It was killed with its parent, and is ours to reap.
      absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(leader);
      if (pidfd.ok()) leader_pidfd_ = *std::move(pidfd);
      hold_->SetLeader(leader, leader_pidfd_.get());
    }
    killing_ = true;
  }

  // Until nobody is left, or the rest is to be left alone.
  void Serve() {
    while (!Reap()) {
      if (killing_) Kill();
      bool supervised = Await();
      if (!ReadMessages()) return;
      if (!supervised) {
        FinishWithoutSupervisor();
        return;
      }
    }
    Tell(ends_, TreeNote::kEmpty);
  }

 private:
  // Returns true when nobody is left.
  bool Reap() {
    int stop = leader_pidfd_.valid() && !leader_told_
                   ? kernel::PollChildStop(leader_pidfd_.get())
                   : 0;
    if (stop != 0) {
      LeaderNote note{};
      note.kind = LeaderNote::Kind::kStopped;
      note.end.value = stop;
      Tell(ends_, note);
    }
    absl::StatusOr<bool> empty = hold_->IsEmpty();
    if (hold_->leader_end().has_value() && !leader_told_) {
      LeaderNote note{};
      note.kind = LeaderNote::Kind::kEnded;
      note.end = *hold_->leader_end();
      leader_told_ = Tell(ends_, note);
      shared_->leader = 0;
    }
    return empty.ok() && *empty;
  }

  void Kill() {
    // What cannot be signalled now may be in the next round.
    (void)hold_->Kill();
    if (hold_->IsRefused() && !refusal_told_) {
      Tell(ends_, TreeNote::kRefused);
      refusal_told_ = true;
    }
    ask_ = std::clamp(ask_ * 2, kFirstAsk, kLastAsk);
  }

  // For an event, or the next round. Returns false at the supervisor's end.
  bool Await() {
    pollfd fds[] = {{ends_.supervisor.get(), POLLIN, 0},
                    {ends_.tree_channel.get(), POLLIN, 0},
                    {hold_->events_fd(), POLLIN, 0}};
    // Whom nobody may kill ends by itself, or never.
    bool again = killing_ && !hold_->IsRefused();
    int patience =
        again ? static_cast<int>(absl::ToInt64Milliseconds(ask_)) : -1;
    bool untold = hold_->leader_end().has_value() && !leader_told_;
    if (untold && patience < 0) patience = kTellAgainMs;
    int count = kernel::Poll(fds, std::size(fds), patience);
    if (count < 0) return errno == EINTR;
    // A host that execs another program lives on, and its channel does not.
    return fds[0].revents == 0 && (fds[1].revents & ~POLLIN) == 0;
  }

  // Returns false when the supervisor gives those up who are left.
  bool ReadMessages() {
    while (true) {
      Message message;
      absl::StatusOr<kernel::Received> received =
          kernel::Receive(ends_.tree_channel.get(), &message, sizeof(message));
      if (!received.ok() || received->size == 0) return true;
      TreeNote note{};
      memcpy(&note, &message, sizeof(note));
      if (received->size == sizeof(message)) {
        rest_ = RestFrom(message);
        ending_ = true;
      } else if (received->size == sizeof(note) && note == TreeNote::kGiveUp) {
        return false;
      } else {
        killing_ = true;
        ask_ = absl::ZeroDuration();
      }
    }
  }

  void FinishWithoutSupervisor() {
    // It may have stopped them, and not come to continuing them.
    if (ending_) hold_->Signal(SIGCONT, /*only_group=*/0);
    if (!kill_on_death_ && !killing_) return;
    if (killing_) {
      rest_.grace_end = absl::ZeroDuration();
      rest_.steps.clear();
    }
    std::vector<Finisher> finishers;
    finishers.emplace_back(std::move(hold_), std::move(rest_));
    FinishAll(&finishers);
  }

  const ReaperEnds& ends_;
  std::unique_ptr<SubreaperHold> hold_;
  SharedPage* const shared_;
  kernel::UniqueFd leader_pidfd_;
  bool kill_on_death_ = true;
  RestOfTeardown rest_;
  bool leader_told_ = false;
  bool ending_ = false;
  bool killing_ = false;
  bool refusal_told_ = false;
  absl::Duration ask_;
};

int RunInner(const ReaperEnds& ends, SharedPage* shared, char* numbers) {
  absl::StatusOr<std::string> packed =
      kernel::ReadToEnd(ends.order.get(), "order", "the order");
  absl::StatusOr<std::unique_ptr<OwnedOrder>> order =
      UnpackOrder(packed.ok() ? *std::move(packed) : "");
  absl::StatusOr<std::unique_ptr<SubreaperHold>> hold = SubreaperHold::Create();
  for (const absl::Status& status : {order.status(), hold.status()}) {
    if (status.ok()) continue;
    Refuse(ends, status);
    return kFailed;
  }
  // Nobody wants it any more.
  if (kernel::HasEnded(ends.supervisor.get())) return 0;
  Reaper reaper(ends, *std::move(hold), shared);
  if (!reaper.StartLeader(order->get(), numbers)) return 0;
  order->reset();
  reaper.Serve();
  return 0;
}

// Waits for the inner one, lets nobody stop it, and does its work if it is
// killed.
void RunOuter(const ReaperEnds& ends, pid_t inner,
              std::unique_ptr<SubreaperHold> hold, SharedPage* shared) {
  kernel::Detach({ends.leader_channel.get(), ends.tree_channel.get(),
                  ends.supervisor.get(), hold->events_fd()});
  kernel::RaiseDescriptorLimit();
  siginfo_t event{};
  while (kernel::Waitid(P_PID, inner, &event, WEXITED | WSTOPPED) == 0) {
    if (event.si_code == CLD_EXITED) return;
    if (event.si_code != CLD_STOPPED) break;
    // By the command: what is stopped holds nobody.
    kernel::Kill(inner, SIGCONT);
  }
  Reaper reaper(ends, std::move(hold), shared);
  reaper.TakeOver();
  reaper.Serve();
}

// Returns false when they are not what a supervisor leaves there.
bool TakeEnds(const char* numbers, ReaperEnds* ends) {
  kernel::UniqueFd* const places[kReaperFds] = {
      &ends->leader_channel, &ends->tree_channel, &ends->supervisor,
      &ends->order};
  std::vector<std::string> words =
      absl::StrSplit(numbers, ' ', absl::SkipEmpty());
  if (words.size() != kReaperFds) return false;
  for (int i = 0; i < kReaperFds; ++i) {
    int fd = -1;
    if (!absl::SimpleAtoi(words[i], &fd) ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
      return false;
    }
    places[i]->reset(fd);
  }
  return kernel::IsChannel(ends->leader_channel.get()) &&
         kernel::IsChannel(ends->tree_channel.get());
}

}  // namespace

bool IsReaperCommandLine(int argc, const char* const* argv) {
  return argc == 2 && absl::StartsWith(argv[0], kReaperCommandLine);
}

int ReaperMain(int argc, char** argv) {
  ReaperEnds ends;
  if (argc != 2 || !TakeEnds(argv[1], &ends)) {
    fputs(
        "treekill-guardian: a reaper is started by treekill, and does "
        "nothing by itself\n",
        stderr);
    return kFailed;
  }
  kernel::BlockAllSignals();
  // Ignored, the kernel would reap before we can.
  signal(SIGCHLD, SIG_DFL);
  kernel::SetProcessName(kReaperName);
  void* page = mmap(nullptr, sizeof(SharedPage), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  absl::StatusOr<std::unique_ptr<SubreaperHold>> hold = SubreaperHold::Create();
  if (page == MAP_FAILED || !hold.ok()) {
    Refuse(ends, page == MAP_FAILED
                     ? kernel::ErrnoStatus(ENOMEM, "mmap", "no memory")
                     : hold.status());
    return kFailed;
  }
  SharedPage* shared = new (page) SharedPage;
  pid_t inner = fork();
  if (inner < 0) {
    Refuse(ends, kernel::ErrnoStatus(errno, "fork", "no new process"));
    return kFailed;
  }
  if (inner == 0) {
    hold->reset();
    return RunInner(ends, shared, argv[1]);
  }
  RunOuter(ends, inner, *std::move(hold), shared);
  return 0;
}

}  // namespace treekill::guardian
