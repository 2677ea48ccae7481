// What nearly every test includes, read once for all of them: CMakeLists.txt
// makes it a precompiled header. Templates that each test would compile anew
// are compiled once, in precompiled.cc.
#ifndef TREEKILL_TESTS_RIG_PRECOMPILED_H_
#define TREEKILL_TESTS_RIG_PRECOMPILED_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

extern template class nlohmann::basic_json<>;
extern template class std::vector<int>;
extern template class std::vector<std::string>;
extern template class std::map<std::string, std::string>;
extern template class testing::Matcher<std::string>;
extern template class testing::Matcher<const std::string&>;
extern template class testing::internal::MatcherBase<std::string>;
extern template class testing::internal::MatcherBase<const std::string&>;

#endif  // TREEKILL_TESTS_RIG_PRECOMPILED_H_
