// Time spans as systemd's settings have them: systemd.time(7).
#ifndef TREEKILL_SYSTEMD_TIME_SPAN_H_
#define TREEKILL_SYSTEMD_TIME_SPAN_H_

#include <cstdint>
#include <limits>
#include <optional>

#include "absl/strings/string_view.h"

namespace treekill::systemd {

inline constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

// "5min 20s", "1.5h", "500ms", "30" (seconds), "infinity" (kForever) in
// microseconds. nullopt for anything else, and for more than can be held.
std::optional<uint64_t> ParseTimeSpan(absl::string_view text);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_TIME_SPAN_H_
