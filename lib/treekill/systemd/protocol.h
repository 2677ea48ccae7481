// What treekill and its helper treekill-systemd say to each other, over a
// channel: messages of texts. Requests are answered in turn; kStopped comes
// when it happens.
#ifndef TREEKILL_SYSTEMD_PROTOCOL_H_
#define TREEKILL_SYSTEMD_PROTOCOL_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace treekill::systemd {

// The helper may be of another version: this changes with every change below.
constexpr char kProtocolVersion[] = "3";

// Where the helper finds its end, and a pidfd of who has started it: a child
// that this one forks holds the other end, too.
constexpr int kChannelFd = 3;
constexpr int kHostFd = 4;

using Words = std::vector<std::string>;

// Each request goes on with VERSION, MANAGER (of SystemdManager) and UNIT, and
// is answered as said there, or by kError CODE TEXT.
constexpr char kError[] = "error";
// PID, STOP-TIMEOUT in microseconds, and NAME=VALUE for each property; kScope
// UNIT CGROUP.
constexpr char kStartScope[] = "start-scope";
constexpr char kScope[] = "scope";
// Of a scope that was asked for last, and is not wanted any more: kDone when it
// is not, or was never started.
constexpr char kGiveUp[] = "give-up";
// kUnit and the members of UnitState, at the end a word for each process.
constexpr char kQueryUnit[] = "query-unit";
constexpr char kUnit[] = "unit";
// SIGNAL; kDone.
constexpr char kSignalUnit[] = "signal-unit";
constexpr char kDone[] = "done";
// UNIT is to be stopped: systemd waits for us to do it.
constexpr char kStopped[] = "stopped";

absl::Status SendWords(int channel, const Words& words);

// Waits for at most `patience`. Empty when the other end is closed;
// kDeadlineExceeded when nothing has come, kCancelled when nothing has and
// `cancel_fd` (-1: none) is readable.
absl::StatusOr<Words> ReceiveWords(int channel, absl::Duration patience,
                                   int cancel_fd = -1);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_PROTOCOL_H_
