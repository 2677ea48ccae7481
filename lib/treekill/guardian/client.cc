#include "treekill/guardian/client.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "treekill/guardian/guardian.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::guardian {
namespace {

constexpr char kVariable[] = "TREEKILL_GUARDIAN";

// A guardian that does not speak or read for that long does not work.
constexpr absl::Duration kPatience = absl::Seconds(10);

std::string CommandLine() {
  return absl::StrCat("treekill: guardian of ", getpid(),
                      ", ends its commands if it is killed");
}

absl::StatusOr<kernel::Child> StartProgram(const std::string& program,
                                           const GuardianEnds& ends) {
  std::string command_line = CommandLine();
  const char* argv[] = {command_line.c_str(), nullptr};
  const char* environment[] = {nullptr};
  const char* paths[] = {program.c_str(), nullptr};
  kernel::FdMove fds[] = {{ends.channel.get(), kChannelFd},
                          {ends.supervisor.get(), kSupervisorFd}};
  kernel::ChildPlan plan;
  plan.new_session = true;
  plan.fds = fds;
  plan.fd_count = std::size(fds);
  plan.paths = paths;
  plan.argv = argv;
  plan.envp = environment;
  absl::StatusOr<kernel::Child> child = kernel::Clone(plan, /*cgroup_fd=*/-1);
  if (child.ok() && child->failure.stage != kernel::ChildStage::kNone) {
    return kernel::ErrnoStatus(child->failure.error, "exec", program);
  }
  return child;
}

// Without waiting. Returns false when it could not be sent.
bool Send(const kernel::UniqueFd& channel, const Note& note) {
  return kernel::Send(channel.get(), &note.message, sizeof(note.message),
                      note.fds, absl::ZeroDuration())
      .ok();
}

}  // namespace

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

absl::StatusOr<Guardian> Guardian::Start(const GuardianForm& form,
                                         const std::vector<Note>& notes) {
  absl::StatusOr<kernel::Channel> channel = kernel::MakeChannel();
  if (!channel.ok()) return channel.status();
  GuardianEnds ends;
  ends.channel = std::move(channel->far);
  absl::StatusOr<kernel::UniqueFd> self = kernel::OpenPidfd(getpid());
  if (!self.ok()) return self.status();
  ends.supervisor = *std::move(self);
  // Now: the copy would name itself, and memory is shared until it is touched.
  const GuardianManner copy{
      .is_copy = true, .notes = notes, .command_line = CommandLine()};
  absl::StatusOr<std::string> program =
      form.fork ? "" : FindProgram(form.program);
  if (!program.ok()) return program.status();
  // A program finds there what it is to know, as far as there is room. A copy
  // knows it all.
  size_t told = form.fork ? notes.size() : 0;
  while (told < notes.size() && Send(channel->near, notes[told])) ++told;
  absl::StatusOr<kernel::Child> child =
      form.fork ? kernel::ForkUnseen() : StartProgram(*program, ends);
  if (!child.ok()) {
    return kernel::WithContext(child.status(), "cannot start the guardian");
  }
  if (child->pid == 0) RunGuardian(ends, copy);
  Guardian guardian(*std::move(child), std::move(channel->near), *program);
  for (; told < notes.size(); ++told) {
    absl::Status status = guardian.Tell(notes[told], kPatience);
    if (!status.ok()) return status;
  }
  return guardian;
}

Guardian& Guardian::operator=(Guardian&& other) noexcept {
  if (this != &other) {
    Dismiss();
    process_ = std::move(other.process_);
    channel_ = std::move(other.channel_);
    program_ = std::move(other.program_);
    ready_ = other.ready_;
    owner_ = other.owner_;
  }
  return *this;
}

void Guardian::Dismiss() {
  if (!process_.pidfd.valid() || owner_ != getpid()) return;
  bool ends =
      kernel::SendSignal(process_.pidfd.get(), process_.pid, SIGKILL).ok();
  channel_.reset();
  if (!ends) {
    // One that may not be signalled goes by itself if it guards nobody.
    pollfd died{pidfd(), POLLIN, 0};
    ends = kernel::Poll(&died, 1, /*timeout_ms=*/1000) > 0;
  }
  if (ends) (void)kernel::ReapChild(process_.pidfd.get());
  process_.pidfd.reset();
}

absl::Status Guardian::AwaitReady() {
  if (ready_) return absl::OkStatus();
  pollfd word{channel_.get(), POLLIN, 0};
  kernel::Poll(&word, 1, absl::ToInt64Milliseconds(kPatience));
  Message message;
  absl::StatusOr<kernel::Received> received =
      kernel::Receive(channel_.get(), &message, sizeof(message));
  if (!received.ok()) {
    return kernel::WithContext(
        received.status(),
        absl::StrCat("the guardian ", program_, " does not speak"));
  }
  if (received->size != sizeof(message) || message.id != kProtocolVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(program_, " is no guardian of this version of treekill"));
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
