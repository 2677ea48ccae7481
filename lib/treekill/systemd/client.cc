#include "treekill/systemd/client.h"

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::systemd {
namespace {

constexpr char kVariable[] = "TREEKILL_SYSTEMD";

// More than the helper gives systemd.
absl::Duration Patience() {
  return kernel::TimeLimit("systemd", absl::Seconds(25));
}
// A systemd that answers does so within milliseconds.
constexpr absl::Duration kGiveUpPatience = absl::Seconds(1);

absl::StatusOr<std::string> FindProgram() {
  const char* named = secure_getenv(kVariable);
  if (named != nullptr && named[0] != '\0') return std::string(named);
  std::vector<std::string> places = {TREEKILL_SYSTEMD_INSTALLED};
#ifdef TREEKILL_SYSTEMD_BUILT
  places.push_back(TREEKILL_SYSTEMD_BUILT);
#endif
  for (const std::string& place : places) {
    if (access(place.c_str(), X_OK) == 0) return place;
  }
  return absl::UnavailableError(
      absl::StrCat("the program treekill-systemd is not to be found in ",
                   absl::StrJoin(places, " or "),
                   "; install it, or name it by ", kVariable));
}

absl::StatusOr<kernel::Child> StartProgram(const std::string& program,
                                           int channel) {
  absl::StatusOr<kernel::UniqueFd> null =
      kernel::OpenFile(AT_FDCWD, "/dev/null", O_RDWR, "/dev/null");
  if (!null.ok()) return null.status();
  absl::StatusOr<kernel::UniqueFd> self = kernel::OpenPidfd(getpid());
  if (!self.ok()) return self.status();
  kernel::FdMove fds[] = {{null->get(), STDIN_FILENO},
                          {null->get(), STDOUT_FILENO},
                          {null->get(), STDERR_FILENO},
                          {channel, kChannelFd},
                          {self->get(), kHostFd}};
  const char* const paths[] = {program.c_str(), nullptr};
  const char* const argv[] = {"treekill-systemd", nullptr};
  kernel::ChildPlan plan{.new_session = true,
                         .fds = fds,
                         .fd_count = std::size(fds),
                         .paths = paths,
                         .argv = argv,
                         .envp = environ};
  absl::StatusOr<kernel::Child> child = kernel::Clone(plan, /*cgroup_fd=*/-1);
  if (child.ok() && child->failure.stage != kernel::ChildStage::kNone) {
    return absl::UnavailableError(
        kernel::ErrnoStatus(child->failure.error, "exec",
                            absl::StrCat("cannot start ", program))
            .message());
  }
  return child;
}

absl::Status ErrorFrom(const Words& words) {
  int code = 0;
  if (words.size() != 3 || words[0] != kError ||
      !absl::SimpleAtoi(words[1], &code)) {
    return absl::InternalError("treekill-systemd talks nonsense");
  }
  return absl::Status(static_cast<absl::StatusCode>(code), words[2]);
}

Words Request(const char* request, SystemdManager manager,
              const std::string& unit) {
  return {request, kProtocolVersion, absl::StrCat(static_cast<int>(manager)),
          unit};
}

}  // namespace

absl::StatusOr<Client> Client::Start() {
  absl::StatusOr<std::string> program = FindProgram();
  if (!program.ok()) return program.status();
  absl::StatusOr<kernel::Channel> channel = kernel::MakeChannel();
  if (!channel.ok()) return channel.status();
  absl::StatusOr<kernel::Child> child =
      StartProgram(*program, channel->far.get());
  if (!child.ok()) return child.status();
  return Client(*std::move(program), *std::move(child),
                std::move(channel->near));
}

Client& Client::operator=(Client&& other) noexcept {
  if (this != &other) {
    Dismiss();
    program_ = std::move(other.program_);
    process_ = std::move(other.process_);
    channel_ = std::move(other.channel_);
    stopped_ = std::move(other.stopped_);
    owner_ = other.owner_;
  }
  return *this;
}

Client::~Client() { Dismiss(); }

void Client::Dismiss() {
  if (!process_.pidfd.valid() || owner_ != getpid()) return;
  (void)kernel::SendSignal(process_.pidfd.get(), process_.pid, SIGKILL);
  (void)kernel::ReapChild(process_.pidfd.get());
  process_.pidfd.reset();
}

absl::StatusOr<Words> Client::Ask(const Words& request, const char* answer,
                                  size_t size, int cancel_fd) {
  absl::Status sent = SendWords(channel_.get(), request);
  // One that could not even begin has left its reason to be read.
  if (!sent.ok() && kernel::StatusErrno(sent) != EPIPE) return sent;
  const absl::Duration patience = Patience();
  while (true) {
    absl::StatusOr<Words> words =
        ReceiveWords(channel_.get(), patience, cancel_fd);
    if (absl::IsCancelled(words.status())) return words;
    if (absl::IsDeadlineExceeded(words.status())) {
      return absl::DeadlineExceededError(absl::StrCat(
          "systemd has not answered within ", absl::FormatDuration(patience)));
    }
    if (!words.ok()) {
      return kernel::WithContext(words.status(), "cannot ask treekill-systemd");
    }
    if (words->empty()) {
      return absl::UnavailableError(absl::StrCat(
          program_, " has ended; run it by itself to see what it lacks"));
    }
    if (words->size() == 2 && (*words)[0] == kStopped) {
      stopped_.push_back((*words)[1]);
      continue;
    }
    if (words->size() >= size && (*words)[0] == answer) return words;
    return ErrorFrom(*words);
  }
}

absl::StatusOr<std::string> Client::StartScope(const NewScope& scope) {
  bool for_ever = scope.stop_timeout == absl::InfiniteDuration();
  uint64_t stop_timeout =
      for_ever ? UINT64_MAX : absl::ToInt64Microseconds(scope.stop_timeout);
  Words request = Request(kStartScope, scope.manager, scope.unit);
  request.push_back(absl::StrCat(scope.pid));
  request.push_back(absl::StrCat(stop_timeout));
  request.insert(request.end(), scope.properties.begin(),
                 scope.properties.end());
  absl::StatusOr<Words> answer = Ask(request, kScope, 3, scope.cancel_fd);
  if (absl::IsCancelled(answer.status())) {
    return absl::CancelledError(
        absl::StrCat("given up while systemd was asked for ", scope.unit));
  }
  if (!answer.ok()) return answer.status();
  return (*answer)[2];
}

void Client::GiveUp(SystemdManager manager, const std::string& unit) {
  if (!SendWords(channel_.get(), Request(kGiveUp, manager, unit)).ok()) return;
  absl::Duration end = kernel::MonotonicNow() + kGiveUpPatience;
  while (true) {
    // First comes the answer that was not waited for.
    absl::StatusOr<Words> words =
        ReceiveWords(channel_.get(), end - kernel::MonotonicNow());
    if (!words.ok() || words->empty() || (*words)[0] == kDone) return;
  }
}

absl::StatusOr<UnitState> Client::QueryUnit(SystemdManager manager,
                                            const std::string& unit) {
  absl::StatusOr<Words> answer =
      Ask(Request(kQueryUnit, manager, unit), kUnit, 7);
  if (!answer.ok()) return answer.status();
  UnitState state{.name = (*answer)[1],
                  .active = (*answer)[2],
                  .sub = (*answer)[3],
                  .cgroup = (*answer)[4],
                  .restart = (*answer)[5],
                  .invocation = (*answer)[6],
                  .processes = {}};
  for (size_t i = 7; i < answer->size(); ++i) {
    pid_t pid = 0;
    if (absl::SimpleAtoi((*answer)[i], &pid)) state.processes.push_back(pid);
  }
  return state;
}

absl::Status Client::SignalUnit(SystemdManager manager, const std::string& unit,
                                int signal) {
  Words request = Request(kSignalUnit, manager, unit);
  request.push_back(absl::StrCat(signal));
  return Ask(request, kDone, 1).status();
}

absl::StatusOr<std::optional<std::string>> Client::NextStopped() {
  if (!stopped_.empty()) {
    std::string unit = stopped_.back();
    stopped_.pop_back();
    return unit;
  }
  absl::StatusOr<Words> words =
      ReceiveWords(channel_.get(), absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(words.status())) return std::nullopt;
  if (!words.ok()) return words.status();
  if (words->size() != 2) return absl::UnavailableError("it has ended");
  return (*words)[1];
}

}  // namespace treekill::systemd
