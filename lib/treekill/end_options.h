// How processes are ended that somebody else has started.
#ifndef TREEKILL_END_OPTIONS_H_
#define TREEKILL_END_OPTIONS_H_

#include <csignal>

#include "absl/time/time.h"

namespace treekill {

struct EndOptions {
  // Sent first, to every process, and SIGCONT after it. SIGKILL: no grace.
  int signal = SIGTERM;
  // Until SIGKILL; ends early when all are gone.
  absl::Duration grace = absl::Seconds(5);
  // How long after SIGKILL a process may take to die.
  absl::Duration drain_timeout = absl::Seconds(10);
};

}  // namespace treekill

#endif  // TREEKILL_END_OPTIONS_H_
