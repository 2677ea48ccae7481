#include "cli/process_tree.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

// Of a command, before its escapes would be cut off.
constexpr size_t kShortestCommand = 12;

// Deeper ones are drawn as if they were no deeper: nobody reads that, and each
// level costs room in every line.
constexpr size_t kDeepest = 64;

struct Strokes {
  const char* child;
  const char* last_child;
  const char* beside;
  const char* below_last;
};
constexpr Strokes kUtf8 = {"\u251c\u2500", "\u2514\u2500", "\u2502 ", "  "};
constexpr Strokes kAscii = {"|-", "`-", "| ", "  "};

std::string LineOf(const Member& member, const std::string& before,
                   const Style& style) {
  std::string start =
      absl::StrCat(before, member.pid, " ", std::string(1, member.state), " ");
  std::string end;
  if (!member.escapes.empty()) {
    end = absl::StrCat(" [", EscapesOf(member), "]");
  }
  std::string command = CommandText(member.name, member.argv, style.utf8);
  size_t used = Columns(start) + Columns(end);
  if (style.width > 0) {
    size_t room = style.width > used ? style.width - used : 0;
    command = Cut(command, std::max(room, kShortestCommand), style.utf8);
  }
  return absl::StrCat(start, command, end);
}

}  // namespace

void DrawTree(const std::vector<Member>& members, const Style& style,
              Table* table) {
  const Strokes& strokes = style.utf8 ? kUtf8 : kAscii;
  std::unordered_map<pid_t, size_t> index;
  for (size_t i = 0; i < members.size(); ++i) index[members[i].pid] = i;
  std::vector<std::vector<size_t>> children(members.size());
  std::vector<size_t> roots;
  for (size_t i = 0; i < members.size(); ++i) {
    auto parent = index.find(members[i].parent);
    // Who is younger than its child has the number of a parent that is gone.
    bool is_child = parent != index.end() && parent->second < i;
    (is_child ? children[parent->second] : roots).push_back(i);
  }
  struct Branch {
    size_t member;
    std::string before;
    bool is_last;
    size_t depth;
  };
  // The next one is at the end. No recursion: a tree may be as deep as there
  // are processes.
  std::vector<Branch> branches;
  auto add = [&branches](const std::vector<size_t>& found,
                         const std::string& before, size_t depth) {
    for (size_t i = found.size(); i-- > 0;) {
      branches.push_back({found[i], before, i + 1 == found.size(), depth});
    }
  };
  add(roots, "", 0);
  while (!branches.empty()) {
    Branch branch = std::move(branches.back());
    branches.pop_back();
    const Member& member = members[branch.member];
    const char* stroke = branch.is_last ? strokes.last_child : strokes.child;
    table->AddLine(LineOf(member, absl::StrCat(branch.before, stroke), style),
                   /*coloured=*/!member.escapes.empty());
    std::string before = branch.before;
    if (branch.depth < kDeepest) {
      before += branch.is_last ? strokes.below_last : strokes.beside;
    }
    add(children[branch.member], before, branch.depth + 1);
  }
}

}  // namespace treekill::cli
