#include "treekill/systemd/helper.h"

#include <poll.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/systemd/libsystemd.h"
#include "treekill/systemd/protocol.h"
#include "treekill/systemd/scope.h"
#include "treekill/systemd/unit.h"

namespace treekill::systemd {
namespace {

// The words of every request, and of a kStartScope before its properties.
constexpr size_t kRequestWords = 4;
constexpr size_t kScopeWords = 6;

Words ErrorWords(const absl::Status& status) {
  return {kError, absl::StrCat(static_cast<int>(status.code())),
          std::string(status.message())};
}

absl::Status WrongVersion() {
  return absl::FailedPreconditionError(
      "treekill-systemd is of another version than treekill");
}

absl::StatusOr<ScopeRequest> ParseScope(SystemdManager manager,
                                        const Words& words) {
  ScopeRequest request;
  uint64_t stop_timeout = 0;
  if (words.size() < kScopeWords || !absl::SimpleAtoi(words[4], &request.pid) ||
      !absl::SimpleAtoi(words[5], &stop_timeout)) {
    return WrongVersion();
  }
  request.manager = manager;
  request.unit = words[3];
  request.stop_timeout = stop_timeout == UINT64_MAX
                             ? absl::InfiniteDuration()
                             : absl::Microseconds(stop_timeout);
  for (size_t i = kScopeWords; i < words.size(); ++i) {
    absl::StatusOr<Property> property = ParseProperty(words[i]);
    if (!property.ok()) return property.status();
    request.properties.push_back(*std::move(property));
  }
  return request;
}

absl::StatusOr<Words> Answer(const Libsystemd& lib, ScopeKeeper* keeper,
                             const Words& words) {
  int number = 0;
  if (words.size() < kRequestWords || words[1] != kProtocolVersion ||
      !absl::SimpleAtoi(words[2], &number)) {
    return WrongVersion();
  }
  auto manager = static_cast<SystemdManager>(number);
  const std::string& unit = words[3];
  int signal = 0;
  if (words[0] == kStartScope) {
    absl::StatusOr<ScopeRequest> request = ParseScope(manager, words);
    if (!request.ok()) return request.status();
    absl::StatusOr<Scope> scope = keeper->Start(*request);
    if (!scope.ok()) return scope.status();
    return Words{kScope, scope->unit, scope->cgroup};
  }
  if (words[0] == kGiveUp) {
    keeper->GiveUp(unit);
    return Words{kDone};
  }
  if (words[0] == kQueryUnit) {
    absl::StatusOr<UnitState> state = QueryUnit(lib, manager, unit);
    if (!state.ok()) return state.status();
    Words answer = {kUnit,         state->name,    state->active,    state->sub,
                    state->cgroup, state->restart, state->invocation};
    for (pid_t pid : state->processes) answer.push_back(absl::StrCat(pid));
    return answer;
  }
  if (words[0] == kSignalUnit && words.size() > kRequestWords &&
      absl::SimpleAtoi(words[4], &signal)) {
    absl::Status sent = SignalUnit(lib, manager, unit, signal);
    if (!sent.ok()) return sent;
    return Words{kDone};
  }
  return WrongVersion();
}

void Serve(const Libsystemd& lib, ScopeKeeper* keeper) {
  while (true) {
    // poll(2) passes over a descriptor of -1.
    pollfd fds[] = {{kChannelFd, POLLIN, 0},
                    {keeper->fd(), POLLIN, 0},
                    {kHostFd, POLLIN, 0}};
    if (kernel::Poll(fds, std::size(fds), /*timeout_ms=*/-1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (fds[2].revents != 0) return;
    if (fds[0].revents != 0) {
      absl::StatusOr<Words> words =
          ReceiveWords(kChannelFd, absl::ZeroDuration());
      if (!words.ok() || words->empty()) return;
      absl::StatusOr<Words> answer = Answer(lib, keeper, *words);
      if (!answer.ok()) answer = ErrorWords(answer.status());
      if (!SendWords(kChannelFd, *answer).ok()) {
        // Nobody is left who would use it.
        if ((*answer)[0] == kScope) keeper->Stop((*answer)[1]);
        return;
      }
    }
    keeper->Dispatch([](const std::string& unit) {
      (void)SendWords(kChannelFd, {kStopped, unit});
    });
  }
}

}  // namespace

int HelperMain() {
  if (!kernel::IsChannel(kChannelFd)) {
    fputs(
        "treekill-systemd: it is started by treekill, and does nothing by "
        "itself\n",
        stderr);
    return 125;
  }
  absl::StatusOr<const Libsystemd*> lib = LoadLibsystemd();
  if (!lib.ok()) {
    // It is the answer to whatever will be asked.
    (void)SendWords(kChannelFd, ErrorWords(lib.status()));
    return 125;
  }
  ScopeKeeper keeper(**lib);
  Serve(**lib, &keeper);
  return 0;
}

}  // namespace treekill::systemd
