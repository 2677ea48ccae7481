#include "treekill/guardian/client.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "treekill/guardian/guardian.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::guardian {
namespace {

constexpr char kVariable[] = "TREEKILL_GUARDIAN";

// A guardian that does not speak or read for that long does not work. Where a
// thousand others want the processor, one that does has taken 10 s.
absl::Duration Patience() {
  return kernel::TimeLimit("guardian", absl::Seconds(30));
}

// Longer than `true` and its like take, for which an exec would be dear.
constexpr int kParkedMs = 10;

// The rest says whose.
constexpr char kCommandLine[] = "treekill: guardian of ";

// Without waiting. Returns false when it could not be sent.
bool Send(const kernel::UniqueFd& channel, const Note& note) {
  return kernel::Send(channel.get(), &note.message, sizeof(note.message),
                      note.fds, absl::ZeroDuration())
      .ok();
}

}  // namespace

bool IsGuardianCommandLine(int argc, const char* const* argv) {
  return argc == 1 && absl::StartsWith(argv[0], kCommandLine);
}

absl::StatusOr<std::string> FindProgram(const std::string& given) {
  if (!given.empty()) return given;
  const char* named = secure_getenv(kVariable);
  if (named != nullptr && named[0] != '\0') return std::string(named);
  std::vector<std::string> places = {TREEKILL_GUARDIAN_INSTALLED};
#ifdef TREEKILL_GUARDIAN_BUILT
  places.push_back(TREEKILL_GUARDIAN_BUILT);
#endif
  for (const std::string& place : places) {
    if (access(place.c_str(), X_OK) == 0) return place;
  }
  return absl::NotFoundError(absl::StrCat(
      "the program treekill-guardian is not to be found in ",
      absl::StrJoin(places, " or "), "; install it, or name it by ", kVariable,
      " or SupervisorOptions::guardian_program"));
}

struct Guardian::Launch {
  Launch(std::string program, const GuardianEnds& ends)
      : program(std::move(program)),
        command_line(absl::StrCat(kCommandLine, getpid(),
                                  ", ends its commands if it is killed")),
        fds{{ends.channel.get(), kChannelFd},
            {ends.supervisor.get(), kSupervisorFd}} {
    memory.plan = {.new_session = true,
                   .fds = fds,
                   .fd_count = 2,
                   .blocked = kernel::kEverySignal,
                   .paths = paths,
                   .argv = argv,
                   .envp = environment};
  }

  const std::string program;
  const std::string command_line;
  kernel::FdMove fds[2];
  const char* const paths[2] = {program.c_str(), nullptr};
  const char* const argv[2] = {command_line.c_str(), nullptr};
  const char* const environment[1] = {nullptr};
  kernel::ParkedMemory memory;

  absl::StatusOr<kernel::Child> Run() {
    absl::StatusOr<kernel::Child> child =
        kernel::Clone(memory.plan, /*cgroup_fd=*/-1);
    if (child.ok() && child->failure.stage != kernel::ChildStage::kNone) {
      return kernel::ErrnoStatus(child->failure.error, "exec", program);
    }
    return child;
  }

  absl::StatusOr<kernel::Child> Park(int supervisor) {
    memory.plan.park_fd = supervisor;
    memory.plan.park_ms = kParkedMs;
    memory.plan.park_name = kGuardianName;
    // By then it leads the process group that it is put into, and may have no
    // new session: it finds its own way, as a program.
    memory.plan.new_session = false;
    memory.plan.new_process_group = true;
    return kernel::CloneParked(&memory);
  }
};

Guardian::Guardian(kernel::Child process, kernel::UniqueFd channel,
                   std::unique_ptr<Launch> launch)
    : process_(std::move(process)),
      channel_(std::move(channel)),
      launch_(std::move(launch)),
      ready_(launch_->memory.plan.park_fd >= 0) {}

Guardian::Guardian(Guardian&&) noexcept = default;

Guardian::~Guardian() { Dismiss(); }

absl::StatusOr<Guardian> Guardian::Start(const GuardianForm& form,
                                         const std::vector<Note>& notes) {
  absl::StatusOr<std::string> program = FindProgram(form.program);
  if (!program.ok()) return program.status();
  absl::StatusOr<kernel::Channel> channel = kernel::MakeChannel();
  if (!channel.ok()) return channel.status();
  absl::StatusOr<kernel::UniqueFd> self = kernel::OpenPidfd(getpid());
  if (!self.ok()) return self.status();
  GuardianEnds ends{std::move(channel->far), *std::move(self)};
  // It finds there what it is to know, as far as there is room.
  size_t told = 0;
  while (told < notes.size() && Send(channel->near, notes[told])) ++told;
  auto launch = std::make_unique<Launch>(*std::move(program), ends);
  absl::StatusOr<kernel::Child> child =
      form.parked ? launch->Park(ends.supervisor.get()) : launch->Run();
  if (!child.ok()) {
    return kernel::WithContext(child.status(), "cannot start the guardian");
  }
  Guardian guardian(*std::move(child), std::move(channel->near),
                    std::move(launch));
  for (; told < notes.size(); ++told) {
    absl::Status status = guardian.Tell(notes[told], Patience());
    if (!status.ok()) return status;
  }
  return guardian;
}

Guardian& Guardian::operator=(Guardian&& other) noexcept {
  if (this != &other) {
    Dismiss();
    process_ = std::move(other.process_);
    channel_ = std::move(other.channel_);
    launch_ = std::move(other.launch_);
    killed_ = other.killed_;
    ready_ = other.ready_;
    owner_ = other.owner_;
  }
  return *this;
}

void Guardian::Kill() {
  killed_ =
      killed_ ||
      kernel::SendSignal(process_.pidfd.get(), process_.pid, SIGKILL).ok();
  channel_.reset();
}

void Guardian::Dismiss() {
  if (!process_.pidfd.valid() || owner_ != getpid()) return;
  Kill();
  // One that may not be signalled goes by itself if it guards nobody.
  bool ends = killed_ || kernel::AwaitEnd(pidfd(), kernel::MonotonicNow() +
                                                       absl::Seconds(1));
  if (ends) (void)kernel::ReapChild(process_.pidfd.get());
  process_.pidfd.reset();
}

absl::Status Guardian::AwaitReady() {
  if (ready_) return absl::OkStatus();
  const absl::Duration patience = Patience();
  const absl::Duration end = kernel::MonotonicNow() + patience;
  Message message;
  absl::StatusOr<kernel::Received> received;
  do {
    received = kernel::Receive(channel_.get(), &message, sizeof(message));
  } while (kernel::StatusErrno(received.status()) == EAGAIN &&
           kernel::PollUntil(channel_.get(), POLLIN, end));
  if (kernel::StatusErrno(received.status()) == EAGAIN) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the guardian ", launch_->program, " has not spoken within ",
        absl::FormatDuration(patience)));
  }
  if (!received.ok()) {
    return kernel::WithContext(
        received.status(),
        absl::StrCat("the guardian ", launch_->program, " does not speak"));
  }
  if (received->size != sizeof(message) || message.id != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        launch_->program, " is no guardian of this version of treekill"));
  }
  ready_ = true;
  return absl::OkStatus();
}

absl::Status Guardian::Tell(const Note& note, absl::Duration patience) {
  return kernel::WithContext(
      kernel::Send(channel_.get(), &note.message, sizeof(note.message),
                   note.fds, patience),
      "the guardian does not listen");
}

}  // namespace treekill::guardian
