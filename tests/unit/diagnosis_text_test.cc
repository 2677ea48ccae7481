#include "cli/diagnosis_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace treekill::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

DiagnosedMember MemberOf(pid_t pid, int depth, std::string command) {
  DiagnosedMember diagnosed;
  diagnosed.member.pid = pid;
  diagnosed.member.argv = {std::move(command)};
  diagnosed.member.state = 'S';
  diagnosed.member.wait_channel = "do_wait";
  diagnosed.depth = depth;
  return diagnosed;
}

Diagnosis DiagnosisOf(std::vector<DiagnosedMember> members) {
  Diagnosis diagnosis;
  diagnosis.run_time = absl::Milliseconds(1500);
  diagnosis.frozen = true;
  diagnosis.alive = static_cast<int>(members.size());
  diagnosis.members = std::move(members);
  return diagnosis;
}

std::vector<std::string> LinesOf(const Diagnosis& diagnosis,
                                 const std::string& command = "make") {
  std::string text = DiagnosisText(diagnosis, command);
  EXPECT_THAT(text, testing::EndsWith("\n"));
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  lines.pop_back();
  return lines;
}

TEST(DiagnosisText, ProcessTree) {
  std::vector<DiagnosedMember> members = {
      MemberOf(10, 0, "a"), MemberOf(11, 1, "b"), MemberOf(12, 2, "c"),
      MemberOf(13, 1, "d"), MemberOf(14, 2, "e"), MemberOf(15, 0, "f")};
  members[2].kernel_stack = "[<0>] one+0x1/0x2\n[<0>] two+0x3/0x4\n";
  members[4].kernel_stack = "[<0>] three+0x1/0x2\n";
  members[3].member.wait_channel = "";
  members[3].member.state = 'R';
  std::vector<std::string> lines = LinesOf(DiagnosisOf(members));
  EXPECT_THAT(lines[0], StartsWith("treekill: 'make' timed out after 1.5s; "
                                   "6 processes, frozen to be looked at"));
  lines.erase(lines.begin());
  EXPECT_EQ(absl::StrJoin(lines, "\n"),
            R"(    PID S WCHAN   COMMAND
     10 S do_wait a
     11 S do_wait  \_ b
     12 S do_wait  |   \_ c
                   |          in one+0x1/0x2
                   |          in two+0x3/0x4
     13 R -        \_ d
     14 S do_wait      \_ e
                              in three+0x1/0x2
     15 S do_wait f)");
}

TEST(DiagnosisText, WhoHasAPipeOpen) {
  std::vector<DiagnosedMember> members = {MemberOf(10, 0, "a"),
                                          MemberOf(11, 0, "b")};
  members[0].streams = {{1, "pipe:[7]", false, true},
                        {3, "pipe:[8]", true, false},
                        {4, "socket:[9]", true, true}};
  members[1].streams_error = absl::PermissionDeniedError("not yours");
  Diagnosis diagnosis = DiagnosisOf(members);
  diagnosis.shared_streams = {
      {"pipe:[7]", {{10, false, true}, {11, true, false}, {12, true, true}}},
      {"socket:[9]", {{10, true, true}, {11, true, true}}}};
  std::string text = DiagnosisText(diagnosis, "make");
  EXPECT_THAT(text, HasSubstr(" fd 1 -> pipe:[7] (write end), also open in 11 "
                              "(read end), 12\n"));
  EXPECT_THAT(text, HasSubstr(" fd 3 -> pipe:[8] (read end)\n"));
  EXPECT_THAT(text, HasSubstr(" fd 4 -> socket:[9], also open in 11\n"));
  EXPECT_THAT(text,
              HasSubstr(" its pipes and sockets are not known: not yours\n"));
}

TEST(DiagnosisText, OnePipeOfHundreds) {
  Diagnosis diagnosis = DiagnosisOf({MemberOf(1, 0, "a")});
  diagnosis.members[0].streams = {{1, "pipe:[7]", false, true}};
  for (pid_t pid = 1; pid <= 300; ++pid) {
    diagnosis.shared_streams["pipe:[7]"].push_back({pid, false, true});
  }
  EXPECT_THAT(DiagnosisText(diagnosis, "make"),
              HasSubstr("9 (write end) and 291 more\n"));
}

TEST(DiagnosisText, OneWithHundredsOfSockets) {
  Diagnosis diagnosis = DiagnosisOf({MemberOf(1, 0, "a")});
  for (int fd = 0; fd < 300; ++fd) {
    diagnosis.members[0].streams.push_back({fd, "socket:[7]", true, true});
  }
  std::vector<std::string> lines = LinesOf(diagnosis);
  EXPECT_EQ(lines.size(), 3u + 21u);
  EXPECT_THAT(lines.back(), testing::EndsWith(" 280 more pipes and sockets"));
}

TEST(DiagnosisText, HowItGotAway) {
  std::vector<DiagnosedMember> members = {MemberOf(10, 0, "a")};
  members[0].member.uid = 33;
  members[0].member.escapes = {Escape::kNewSession, Escape::kOtherUid};
  EXPECT_THAT(DiagnosisText(DiagnosisOf(members), "make"),
              HasSubstr(" [new-session, uid 33] a\n"));
}

TEST(DiagnosisText, NothingInItReachesATerminal) {
  const std::string kEvil = "\x1b[2J\n\xc2\x9b";
  DiagnosedMember evil = MemberOf(10, 0, kEvil);
  evil.streams = {{1, "pipe:[\x1b]", false, true}};
  DiagnosedMember nameless = MemberOf(11, 0, "");
  nameless.member.argv.clear();
  nameless.member.name = kEvil;
  std::vector<std::string> lines =
      LinesOf(DiagnosisOf({evil, nameless}), kEvil);
  EXPECT_EQ(lines.size(), 5u);
  for (const std::string& line : lines) {
    EXPECT_EQ(std::count_if(line.begin(), line.end(),
                            [](unsigned char c) { return c < ' ' || c > '~'; }),
              0)
        << line;
  }
  EXPECT_THAT(lines[2], HasSubstr("\\x1b[2J\\x0a"));
  EXPECT_THAT(lines[4], HasSubstr("[\\x1b[2J\\x0a"));
}

TEST(DiagnosisText, LongCommandIsCut) {
  std::vector<std::string> lines =
      LinesOf(DiagnosisOf({MemberOf(10, 0, std::string(5000, 'x')),
                           MemberOf(11, 50000, std::string(5000, 'x'))}));
  for (size_t i : {2, 3}) {
    EXPECT_LE(lines[i].size(), 203u);
    EXPECT_THAT(lines[i], testing::EndsWith("xxx..."));
  }
  // Characters, not bytes.
  std::string umlauts;
  for (int i = 0; i < 150; ++i) umlauts += "\xc3\xbc";
  EXPECT_THAT(LinesOf(DiagnosisOf({MemberOf(10, 0, umlauts)}))[2],
              testing::EndsWith(umlauts));
}

TEST(DiagnosisText, WhatIsMissing) {
  Diagnosis diagnosis = DiagnosisOf({MemberOf(10, 0, "a")});
  diagnosis.frozen = false;
  diagnosis.freeze_error = absl::UnimplementedError("it is in no cgroup");
  diagnosis.alive = 4;
  EXPECT_THAT(LinesOf(diagnosis)[0],
              HasSubstr("4 processes, not frozen: it is in no cgroup; 3 of "
                        "them could not be looked at"));
  diagnosis.members.clear();
  diagnosis.members_error = absl::InternalError("no /proc");
  EXPECT_THAT(LinesOf(diagnosis)[0],
              HasSubstr("they cannot be listed: no /proc"));
  diagnosis.frozen = true;
  diagnosis.freeze_error = absl::InternalError("cannot thaw");
  EXPECT_THAT(LinesOf(diagnosis)[0],
              HasSubstr("frozen to be looked at: cannot thaw"));
}

}  // namespace
}  // namespace treekill::cli
