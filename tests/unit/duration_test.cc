#include "cli/duration.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace treekill::cli {
namespace {

TEST(ParseDuration, TakesWhatTimeoutAndSystemdTake) {
  const std::pair<const char*, absl::Duration> kCases[] = {
      {"0", absl::ZeroDuration()},       {"1.5", absl::Seconds(1.5)},
      {".5", absl::Seconds(0.5)},        {"10s", absl::Seconds(10)},
      {"2m", absl::Minutes(2)},          {"1h", absl::Hours(1)},
      {"1d", absl::Hours(24)},           {"500ms", absl::Milliseconds(500)},
      {"1min 30s", absl::Seconds(90)},   {"1min30s", absl::Seconds(90)},
      {" 3 s ", absl::Seconds(3)},       {"2w", absl::Hours(14 * 24)},
      {"inf", absl::InfiniteDuration()}, {"infinity", absl::InfiniteDuration()},
  };
  for (const auto& [text, duration] : kCases) {
    EXPECT_EQ(ParseDuration(text), duration) << text;
  }
}

TEST(ParseDuration, RefusesTheRest) {
  for (const char* text :
       {"", " ", "-1", "+1", "5x", "1e400", "1e3", "nan", "1..2", "s", "1 30s",
        "30s 1", "0x10", "1,5", "10S", "99999999999999999999d", "5\n5"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace treekill::cli
