#include "tests/rig/precompiled.h"

template class nlohmann::basic_json<>;
template class std::vector<int>;
template class std::vector<std::string>;
template class std::map<std::string, std::string>;
template class testing::Matcher<std::string>;
template class testing::Matcher<const std::string&>;
template class testing::internal::MatcherBase<std::string>;
template class testing::internal::MatcherBase<const std::string&>;
