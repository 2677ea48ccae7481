#include "cli/diagnosis_text.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cli/output.h"
#include "cli/process_tree.h"
#include "cli/table.h"

namespace treekill::cli {
namespace {

constexpr size_t kMaxColumns = 200;
// What is left of them for the command of somebody far down.
constexpr size_t kMinCommandColumns = 60;
// Deeper ones are drawn no further right.
constexpr int kMaxDepth = 20;
constexpr size_t kMaxStreams = 20;
constexpr size_t kMaxHolders = 8;

constexpr Strokes kStrokes = {" \\_ ", " \\_ ", " |  ", "    "};

// The branches, with a trunk below each who has children.
std::vector<Branch> Draw(const std::vector<DiagnosedMember>& members) {
  std::vector<int> depths;
  for (const DiagnosedMember& diagnosed : members) {
    depths.push_back(diagnosed.depth);
  }
  std::vector<Branch> branches = DrawBranches(depths, kStrokes, kMaxDepth);
  for (size_t i = 0; i < depths.size(); ++i) {
    bool has_child = i + 1 < depths.size() && depths[i + 1] > depths[i];
    branches[i].below += has_child ? kStrokes.beside : kStrokes.below_last;
  }
  return branches;
}

// "[uid 33, new-session] ", or "".
std::string Marks(const Member& member) {
  std::vector<std::string> marks;
  for (Escape escape : member.escapes) {
    marks.push_back(escape == Escape::kOtherUid
                        ? absl::StrCat("uid ", member.uid)
                        : EscapeName(escape));
  }
  if (marks.empty()) return "";
  return absl::StrCat("[", absl::StrJoin(marks, ", "), "] ");
}

const char* EndName(const std::string& target, bool reads, bool writes) {
  if (target[0] != 'p' || reads == writes) return "";
  return reads ? " (read end)" : " (write end)";
}

std::string StreamLine(const OpenStream& stream, pid_t pid,
                       const Diagnosis& diagnosis) {
  std::string line =
      absl::StrCat("fd ", stream.fd, " -> ", stream.target,
                   EndName(stream.target, stream.reads, stream.writes));
  auto shared = diagnosis.shared_streams.find(stream.target);
  if (shared == diagnosis.shared_streams.end()) return line;
  std::vector<std::string> others;
  for (const StreamHolder& holder : shared->second) {
    if (holder.pid == pid) continue;
    others.push_back(absl::StrCat(
        holder.pid, EndName(stream.target, holder.reads, holder.writes)));
  }
  size_t more = others.size() - std::min(others.size(), kMaxHolders);
  others.resize(others.size() - more);
  return absl::StrCat(line, ", also open in ", absl::StrJoin(others, ", "),
                      more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

// The lines below a member.
std::vector<std::string> Details(const DiagnosedMember& diagnosed,
                                 const Diagnosis& diagnosis) {
  std::vector<std::string> lines;
  for (absl::string_view line :
       absl::StrSplit(diagnosed.kernel_stack, '\n', absl::SkipEmpty())) {
    absl::ConsumePrefix(&line, "[<0>] ");
    lines.push_back(absl::StrCat("in ", line));
  }
  size_t shown = std::min(diagnosed.streams.size(), kMaxStreams);
  for (size_t i = 0; i < shown; ++i) {
    lines.push_back(
        StreamLine(diagnosed.streams[i], diagnosed.member.pid, diagnosis));
  }
  if (shown < diagnosed.streams.size()) {
    lines.push_back(absl::StrCat(diagnosed.streams.size() - shown,
                                 " more pipes and sockets"));
  }
  if (!diagnosed.streams_error.ok()) {
    lines.push_back(
        absl::StrCat("its pipes and sockets are not known: ",
                     std::string(diagnosed.streams_error.message())));
  }
  return lines;
}

std::string FreezeText(const Diagnosis& diagnosis) {
  std::string text = diagnosis.frozen ? "frozen to be looked at" : "not frozen";
  if (diagnosis.freeze_error.ok()) return text;
  return absl::StrCat(text, ": ",
                      std::string(diagnosis.freeze_error.message()));
}

bool HasStacks(const Diagnosis& diagnosis) {
  return std::any_of(diagnosis.members.begin(), diagnosis.members.end(),
                     [](const DiagnosedMember& diagnosed) {
                       return !diagnosed.kernel_stack.empty();
                     });
}

std::string Header(const Diagnosis& diagnosis, const std::string& command) {
  constexpr absl::Duration kTick = absl::Milliseconds(1);
  std::string text = absl::StrCat(
      "'", command, "' timed out after ",
      absl::FormatDuration(absl::Trunc(diagnosis.run_time, kTick)), "; ",
      diagnosis.alive, diagnosis.alive == 1 ? " process, " : " processes, ",
      FreezeText(diagnosis));
  if (!diagnosis.members_error.ok()) {
    absl::StrAppend(&text, "; they cannot be listed: ",
                    std::string(diagnosis.members_error.message()));
  }
  int missing = diagnosis.alive - static_cast<int>(diagnosis.members.size());
  if (missing > 0) {
    absl::StrAppend(&text, "; ", missing, " of them could not be looked at");
  }
  if (!HasStacks(diagnosis) && geteuid() != 0) {
    absl::StrAppend(&text, "; no kernel stacks, which only root may read");
  }
  return text;
}

}  // namespace

std::string DiagnosisText(const Diagnosis& diagnosis,
                          const std::string& command) {
  std::string text =
      absl::StrCat("treekill: ", Printable(Header(diagnosis, command)), "\n");
  size_t width = 5;
  for (const DiagnosedMember& diagnosed : diagnosis.members) {
    width = std::max(width, diagnosed.member.wait_channel.size());
  }
  absl::StrAppendFormat(&text, "%7s S %-*s COMMAND\n", "PID", width, "WCHAN");
  std::vector<Branch> branches = Draw(diagnosis.members);
  for (size_t i = 0; i < branches.size(); ++i) {
    const DiagnosedMember& diagnosed = diagnosis.members[i];
    const Member& member = diagnosed.member;
    std::string row =
        absl::StrFormat("%7d %c %-*s %s%s", member.pid, member.state, width,
                        member.wait_channel.empty() ? "-" : member.wait_channel,
                        branches[i].own, Marks(member));
    size_t left = kMaxColumns - std::min(row.size(), kMaxColumns);
    std::string shown =
        Cut(CommandText(member.name, member.argv, /*utf8=*/false),
            std::max(left, kMinCommandColumns), /*utf8=*/false);
    absl::StrAppend(&text, Printable(row), shown, "\n");
    std::string indent(width + 11, ' ');
    for (const std::string& line : Details(diagnosed, diagnosis)) {
      absl::StrAppend(&text, indent, branches[i].below, Printable(line), "\n");
    }
  }
  return text;
}

}  // namespace treekill::cli
