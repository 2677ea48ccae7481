#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "treekill/kernel/process_directory.h"

namespace treekill::kernel {
namespace {

constexpr char kCaught[] = "SigCgt:\t0000000000000002\n";

std::string Status(const std::string& uid, const std::string& pids,
                   const std::string& ignored,
                   const std::string& caught = kCaught) {
  return "Name:\tUid:\t1\nUmask:\t0022\nState:\tS "
         "(sleeping)\nTgid:\t6\nPid:\t7\n" +
         uid + pids + "SigBlk:\tffffffffffffffff\n" + ignored + caught;
}

constexpr char kUid[] = "Uid:\t1000\t1001\t1002\t1003\n";
constexpr char kPids[] = "NSpid:\t7\n";
constexpr char kIgnored[] = "SigIgn:\t0000000000004001\n";

TEST(ParseProcessStatus, EveryField) {
  std::optional<ProcessStatus> status =
      ParseProcessStatus(Status(kUid, kPids, kIgnored));
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->process, 6);
  EXPECT_EQ(status->real_uid, 1000U);
  EXPECT_EQ(status->uid, 1001U);
  EXPECT_EQ(status->ignored_signals, 0x4001U);
  EXPECT_EQ(status->caught_signals, 0x2U);
  EXPECT_FALSE(status->IsInInnerNamespace());
  EXPECT_FALSE(status->IsNamespaceInit());
}

TEST(ParseProcessStatus, PidNamespaces) {
  std::optional<ProcessStatus> inner =
      ParseProcessStatus(Status(kUid, "NSpid:\t7\t12\n", kIgnored));
  ASSERT_TRUE(inner.has_value());
  EXPECT_TRUE(inner->IsInInnerNamespace());
  EXPECT_FALSE(inner->IsNamespaceInit());
  std::optional<ProcessStatus> init =
      ParseProcessStatus(Status(kUid, "NSpid:\t7\t3\t1\n", kIgnored));
  ASSERT_TRUE(init.has_value());
  EXPECT_TRUE(init->IsNamespaceInit());
  // Ours.
  std::optional<ProcessStatus> own =
      ParseProcessStatus(Status(kUid, "NSpid:\t1\n", kIgnored));
  ASSERT_TRUE(own.has_value());
  EXPECT_FALSE(own->IsNamespaceInit());
}

TEST(ParseProcessStatus, WhatIsNone) {
  EXPECT_FALSE(ParseProcessStatus("").has_value());
  EXPECT_FALSE(ParseProcessStatus(Status("", kPids, kIgnored)).has_value());
  EXPECT_FALSE(ParseProcessStatus(Status(kUid, kPids, "")).has_value());
  EXPECT_FALSE(
      ParseProcessStatus(Status("Uid:\t1\n", kPids, kIgnored)).has_value());
  EXPECT_FALSE(
      ParseProcessStatus(Status(kUid, kPids, "SigIgn:\tx\n")).has_value());
  EXPECT_FALSE(
      ParseProcessStatus(Status(kUid, kPids, kIgnored, "")).has_value());
}

}  // namespace
}  // namespace treekill::kernel
