#include "treekill/kernel/proc.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

namespace treekill::kernel {
namespace {

// What follows the name: state to start time, and two fields more.
constexpr char kRest[] =
    " S 17 18 19 34816 18 4194560 120 0 0 0 1 2 0 0 20 0 3 0 987654321 5 6";

std::string Line(const std::string& comm, const std::string& rest = kRest) {
  return "42 (" + comm + ")" + rest;
}

TEST(ParseProcessStat, EveryField) {
  std::optional<ProcessStat> stat = ParseProcessStat(Line("make") + "\n");
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->pid, 42);
  EXPECT_EQ(stat->comm, "make");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent, 17);
  EXPECT_EQ(stat->process_group, 18);
  EXPECT_EQ(stat->session, 19);
  EXPECT_EQ(stat->threads, 3);
  EXPECT_EQ(stat->start_time, 987654321u);
}

TEST(ParseProcessStat, NamesThatLookLikeTheRestOfTheLine) {
  for (const char* comm :
       {"", " ", ")", "(", "a) (b", ") R 1 1 1", ") (", "a\nb\n", "((", "))",
        "1 (a", "\xff\xfe\x01", "a b c"}) {
    std::optional<ProcessStat> stat = ParseProcessStat(Line(comm));
    ASSERT_TRUE(stat.has_value()) << comm;
    EXPECT_EQ(stat->comm, comm);
    EXPECT_EQ(stat->pid, 42) << comm;
    EXPECT_EQ(stat->state, 'S') << comm;
    EXPECT_EQ(stat->parent, 17) << comm;
  }
}

TEST(ParseProcessStat, NoTruncatedLineIsTakenForAWholeOne) {
  std::string whole = Line("a) (b");
  size_t start_time = whole.find("987654321");
  for (size_t length = 0; length < start_time; ++length) {
    EXPECT_EQ(ParseProcessStat(whole.substr(0, length)), std::nullopt)
        << whole.substr(0, length);
  }
}

TEST(ParseProcessStat, RefusesWhatIsNoStat) {
  EXPECT_EQ(ParseProcessStat("x (a)" + std::string(kRest)), std::nullopt);
  EXPECT_EQ(ParseProcessStat(") (" + std::string(kRest)), std::nullopt);
  EXPECT_EQ(ParseProcessStat(Line("a", " SS" + std::string(kRest).substr(2))),
            std::nullopt);
  EXPECT_EQ(ParseProcessStat(Line("a", " S x" + std::string(kRest).substr(5))),
            std::nullopt);
  EXPECT_EQ(ParseProcessStat(std::string(4096, ' ')), std::nullopt);
}

bool IsDead(char state, int threads) {
  ProcessStat stat;
  stat.state = state;
  stat.threads = threads;
  return stat.IsDead();
}

TEST(ProcessStat, AZombieWithLiveThreadsIsNotDead) {
  EXPECT_TRUE(IsDead('Z', 1));
  EXPECT_FALSE(IsDead('Z', 2));
  EXPECT_TRUE(IsDead('X', 0));
  for (char state : {'R', 'S', 'D', 'T', 't', 'I'}) {
    EXPECT_FALSE(IsDead(state, 1)) << state;
  }
}

TEST(ReadProcessStat, OfThisProcess) {
  std::optional<ProcessStat> stat = ReadProcessStat(getpid());
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->pid, getpid());
  EXPECT_EQ(stat->parent, getppid());
  EXPECT_EQ(stat->process_group, getpgrp());
  EXPECT_EQ(stat->session, getsid(0));
  EXPECT_GT(stat->start_time, 0u);
}

TEST(ParseCgroupOfProcess, Unified) {
  EXPECT_EQ(ParseCgroupOfProcess("0::/user.slice/a\n"), "/user.slice/a");
  EXPECT_EQ(ParseCgroupOfProcess("0::/"), "/");
}

TEST(ParseCgroupOfProcess, Hybrid) {
  EXPECT_EQ(ParseCgroupOfProcess("9:name=systemd:/s\n8:pids:/p\n0::/v2\n"),
            "/v2");
  EXPECT_EQ(ParseCgroupOfProcess("0::/v2\n1:cpu:/0::/v1\n"), "/v2");
}

TEST(ParseCgroupOfProcess, OnlyVersionOne) {
  EXPECT_EQ(ParseCgroupOfProcess("10:cpu:/a\n8:pids:/0::/x\n"), std::nullopt);
}

TEST(ParseCgroupOfProcess, ARemovedOneSaysSo) {
  EXPECT_EQ(ParseCgroupOfProcess("0::/a (deleted)\n"), "/a (deleted)");
}

TEST(ParseCgroupOfProcess, Nothing) {
  for (const char* text : {"", "\n", "0::", "0::\n", "0:", "x0::/a"}) {
    EXPECT_EQ(ParseCgroupOfProcess(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace treekill::kernel
