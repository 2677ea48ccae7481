#include "treekill/member.h"

#include <unordered_map>

namespace treekill {

const char* EscapeName(Escape escape) {
  switch (escape) {
    case Escape::kNewSession:
      return "new-session";
    case Escape::kNewProcessGroup:
      return "new-process-group";
    case Escape::kReparented:
      return "reparented";
    case Escape::kMigrated:
      return "migrated";
    case Escape::kOtherUid:
      return "other-uid";
    case Escape::kIgnoresTerm:
      return "ignores-term";
    case Escape::kHoldsStdout:
      return "holds-stdout";
    case Escape::kHoldsStderr:
      return "holds-stderr";
  }
  return "unknown";
}

std::vector<TreePlace> InTreeOrder(const std::vector<Member>& members) {
  std::unordered_map<pid_t, size_t> by_pid;
  for (size_t i = 0; i < members.size(); ++i) by_pid[members[i].pid] = i;
  std::vector<std::vector<size_t>> children(members.size());
  // The next one is at the end. No recursion: a tree may be as deep as there
  // are processes.
  std::vector<TreePlace> coming;
  for (size_t i = members.size(); i-- > 0;) {
    auto parent = by_pid.find(members[i].parent);
    // A parent is older, so that this ends even if a pid was reused meanwhile.
    if (parent == by_pid.end() || parent->second >= i) {
      coming.push_back({i, 0});
    } else {
      children[parent->second].push_back(i);
    }
  }
  std::vector<TreePlace> order;
  while (!coming.empty()) {
    TreePlace place = coming.back();
    coming.pop_back();
    for (size_t child : children[place.index]) {
      coming.push_back({child, place.depth + 1});
    }
    order.push_back(place);
  }
  return order;
}

}  // namespace treekill
