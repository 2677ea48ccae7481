#include "treekill/containment/leaf_name.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/proc.h"

namespace treekill::containment {
namespace {

constexpr uint64_t kFirst = kernel::kInitialPidNamespace;

LeafName Leaf(const std::string& name, pid_t pid = 4711,
              int64_t nanoseconds = 0x15938faf94c1,
              uint64_t pid_namespace = kFirst) {
  return {name, {pid, absl::Nanoseconds(nanoseconds), pid_namespace}};
}

void ExpectRoundTrip(const LeafName& leaf) {
  std::string text = FormatLeafName(leaf);
  std::optional<LeafName> parsed = ParseLeafName(text);
  ASSERT_TRUE(parsed.has_value()) << text;
  EXPECT_EQ(parsed->name, leaf.name) << text;
  EXPECT_EQ(parsed->owner.pid, leaf.owner.pid) << text;
  EXPECT_EQ(parsed->owner.moment, leaf.owner.moment) << text;
  EXPECT_EQ(parsed->owner.pid_namespace, leaf.owner.pid_namespace) << text;
}

TEST(FormatLeafName, SaysWhatItIsAndWhose) {
  EXPECT_EQ(FormatLeafName(Leaf("")), "treekill-4711-000015938faf94c1");
  EXPECT_EQ(FormatLeafName(Leaf("make")),
            "treekill-make-4711-000015938faf94c1");
  EXPECT_EQ(FormatLeafName(Leaf("make", 4711, 0x15938faf94c1, 4026532000)),
            "treekill-make-4711-000015938faf94c1-4026532000");
}

TEST(NewLeafName, IsNoOtherThreads) {
  std::vector<std::vector<std::string>> names(4);
  std::vector<std::thread> threads;
  for (std::vector<std::string>& own : names) {
    threads.emplace_back([&own] {
      for (int i = 0; i < 20000; ++i) own.push_back(NewLeafName(""));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> distinct;
  for (const std::vector<std::string>& own : names) {
    distinct.insert(own.begin(), own.end());
  }
  EXPECT_EQ(distinct.size(), 4u * 20000);
}

TEST(ParseLeafName, TheInverse) {
  for (const char* name :
       {"", "a", "1", "42", "a-b", "a-b-", "a--b", "4711-42", "treekill",
        "treekill-1", "0123456789abcdef", "1-0123456789abcdef",
        "treekill-1-0123456789abcdef", "1-0123456789abcdef-4026532000",
        "a:_.@+-z", "4026532000"}) {
    ExpectRoundTrip(Leaf(name));
    ExpectRoundTrip(Leaf(name, 1, 0, 4026532000));
  }
}

TEST(ParseLeafName, EveryNumber) {
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
  for (pid_t pid : {1, 9, 4194304, std::numeric_limits<pid_t>::max()}) {
    for (int64_t moment : {int64_t{0}, int64_t{1}, kLast - 1}) {
      for (uint64_t space : {uint64_t{0}, uint64_t{1}, kFirst - 1, kFirst,
                             kFirst + 1, uint64_t{UINT32_MAX}}) {
        ExpectRoundTrip(Leaf("x", pid, moment, space));
      }
    }
  }
}

TEST(ParseLeafName, RefusesWhatIsNoLeaf) {
  for (const char* text : {
           "",
           "-",
           "treekill",
           "treekill-",
           "treekill--",
           "treekill-1",
           "treekill-1-",
           "treekill-make-1",
           "treekill-0123456789abcdef",
           "treekill--0123456789abcdef",
           "treekill-make-0123456789abcdef",
           // Another prefix.
           "tree-1-0123456789abcdef",
           "Treekill-1-0123456789abcdef",
           "treekillx-1-0123456789abcdef",
           "x-treekill-1-0123456789abcdef",
           "-treekill-1-0123456789abcdef",
           " treekill-1-0123456789abcdef",
           "treekill_1_0123456789abcdef",
           // No pid.
           "treekill-0-0123456789abcdef",
           "treekill-+1-0123456789abcdef",
           "treekill- 1-0123456789abcdef",
           "treekill-1 -0123456789abcdef",
           "treekill-0x1-0123456789abcdef",
           "treekill-1a-0123456789abcdef",
           "treekill-2147483648-0123456789abcdef",
           "treekill-99999999999999999999-0123456789abcdef",
           // No time.
           "treekill-1-123456789abcdef",
           "treekill-1-00123456789abcdef",
           "treekill-1-0123456789ABCDEF",
           "treekill-1-0123456789abcdeg",
           "treekill-1-0x23456789abcdef",
           "treekill-1-ffffffffffffffff",
           "treekill-1-8000000000000000",
           "treekill-1-0123456789abcdef\n",
           "treekill-1-0123456789abcdef.scope",
           // No namespace.
           "treekill-1-0123456789abcdef-",
           "treekill-1-0123456789abcdef-x",
           "treekill-1-0123456789abcdef-1x",
           "treekill-1-0123456789abcdef--1",
           "treekill-1-0123456789abcdef-+1",
           "treekill-1-0123456789abcdef-1-2",
           "treekill-1-0123456789abcdef-99999999999999999999",
           // Of a version that said less.
           "treekill-make-1-15938",
           "treekill-make-1-2-3",
       }) {
    EXPECT_FALSE(ParseLeafName(text).has_value()) << text;
  }
}

TEST(FormatLeafName, FitsIntoAFileName) {
  std::string name(128, 'x');
  std::string text =
      FormatLeafName(Leaf(name, std::numeric_limits<pid_t>::max(),
                          std::numeric_limits<int64_t>::max(),
                          std::numeric_limits<uint64_t>::max()));
  EXPECT_LE(text.size(), 255u);
}

TEST(ThisProcess, IsAliveNow) {
  absl::Duration before = kernel::BootTimeNow();
  LeafOwner owner = ThisProcess();
  EXPECT_EQ(owner.pid, getpid());
  EXPECT_LE(before, owner.moment);
  EXPECT_LE(owner.moment, kernel::BootTimeNow());
  EXPECT_GE(owner.moment, kernel::ReadProcessStat(0)->StartedAt());
  EXPECT_EQ(owner.pid_namespace, kernel::NamespaceOf(0, "pid"));
  EXPECT_NE(owner.pid_namespace, 0u);
}

TEST(NewLeafName, NamesThisProcessAndIsNewEachTime) {
  std::string first = NewLeafName("a-1");
  std::string second = NewLeafName("a-1");
  EXPECT_NE(first, second);
  std::optional<LeafName> leaf = ParseLeafName(first);
  ASSERT_TRUE(leaf.has_value()) << first;
  EXPECT_EQ(leaf->name, "a-1");
  EXPECT_EQ(leaf->owner.pid, getpid());
}

}  // namespace
}  // namespace treekill::containment
