#include "cli/process_tree.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

// Of a command, before its escapes would be cut off.
constexpr size_t kShortestCommand = 12;

// Deeper ones are drawn as if they were no deeper: nobody reads that, and each
// level costs room in every line.
constexpr int kDeepest = 65;

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

std::vector<Branch> DrawBranches(const std::vector<int>& depths,
                                 const Strokes& strokes, int deepest) {
  std::vector<Branch> branches(depths.size());
  // Whether there is, further down, another child at that depth.
  std::vector<bool> goes_on;
  for (size_t i = depths.size(); i-- > 0;) {
    int depth = std::min(depths[i], deepest);
    goes_on.resize(depth + 1);
    std::string trunks;
    for (int level = 1; level < depth; ++level) {
      trunks += goes_on[level] ? strokes.beside : strokes.below_last;
    }
    if (depth > 0) {
      branches[i].own =
          trunks + (goes_on[depth] ? strokes.child : strokes.last_child);
      branches[i].below =
          trunks + (goes_on[depth] ? strokes.beside : strokes.below_last);
    }
    goes_on[depth] = true;
  }
  return branches;
}

void DrawTree(const std::vector<Member>& members, const Style& style,
              Table* table) {
  std::vector<TreePlace> order = InTreeOrder(members);
  // All hang on the row above.
  std::vector<int> depths;
  for (const TreePlace& place : order) depths.push_back(place.depth + 1);
  std::vector<Branch> branches =
      DrawBranches(depths, style.utf8 ? kUtf8 : kAscii, kDeepest);
  for (size_t i = 0; i < order.size(); ++i) {
    const Member& member = members[order[i].index];
    table->AddLine(LineOf(member, branches[i].own, style),
                   /*coloured=*/!member.escapes.empty());
  }
}

}  // namespace treekill::cli
