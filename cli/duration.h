// Durations as timeout(1) and systemd.time(7) have them.
#ifndef TREEKILL_CLI_DURATION_H_
#define TREEKILL_CLI_DURATION_H_

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace treekill::cli {

// "1.5" (seconds), "10s", "2m", "1h", "1d", "500ms", "1min 30s", "inf".
// nullopt for anything else: negative, not a number, beyond what can be held.
std::optional<absl::Duration> ParseDuration(const std::string& text);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DURATION_H_
