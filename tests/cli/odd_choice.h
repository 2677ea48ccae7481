// Which of the odd places each test goes to in the quick pass.
#ifndef TREEKILL_TESTS_CLI_ODD_CHOICE_H_
#define TREEKILL_TESTS_CLI_ODD_CHOICE_H_

#include <algorithm>
#include <string>
#include <vector>

#include "tests/cli/escapes.h"
#include "tests/cli/odd_places.h"

namespace treekill::rig {

// One of each sort: without privileges, in a PID namespace, with a cgroup and
// with less.
inline bool IsOneOfASort(const OddPlace& place) {
  return place.kind == "delegated-user" || place.kind == "container-pid1" ||
         place.kind == "no-clone3-eperm";
}

inline std::vector<OddPlace> OnesOfASort() {
  std::vector<OddPlace> places = OddPlaces();
  std::erase_if(places,
                [](const OddPlace& place) { return !IsOneOfASort(place); });
  return places;
}

inline std::vector<OddPlace> TheOtherOddPlaces() {
  std::vector<OddPlace> places = OddPlaces();
  std::erase_if(places, IsOneOfASort);
  return places;
}

inline std::string NameOfPlace(const testing::TestParamInfo<OddPlace>& info) {
  return CamelCase(info.param.kind);
}

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_ODD_CHOICE_H_
