#include "treekill/leaks.h"

#include <gtest/gtest.h>

#include <string>

namespace treekill {
namespace {

Member Named(const std::string& name, std::vector<std::string> argv = {}) {
  return Member{.name = name, .argv = std::move(argv)};
}

TEST(MatchesPattern, TheNameOrTheFileThatTheArgumentsBeginWith) {
  EXPECT_TRUE(MatchesPattern(Named("ssh-agent"), "ssh-agent"));
  EXPECT_TRUE(MatchesPattern(Named("sh", {"/usr/bin/sccache"}), "sccache"));
  EXPECT_TRUE(MatchesPattern(Named("a.out", {"sccache"}), "*cache*"));
  // As a daemon may call itself.
  EXPECT_TRUE(MatchesPattern(Named("x", {"adb: server on 5037"}), "adb:"));
  EXPECT_TRUE(MatchesPattern(Named("x", {"/usr/bin/adb -L tcp"}), "adb"));
}

TEST(MatchesPattern, NothingElse) {
  EXPECT_FALSE(MatchesPattern(Named("ssh-agent"), "ssh"));
  EXPECT_FALSE(MatchesPattern(Named("ssh-agent"), "agent"));
  EXPECT_FALSE(MatchesPattern(Named("sh", {"sh", "ssh-agent"}), "ssh-agent"));
  EXPECT_FALSE(MatchesPattern(Named("sh", {"/ssh-agent/sh"}), "ssh-agent"));
  EXPECT_FALSE(MatchesPattern(Named(""), "ssh-agent"));
  EXPECT_FALSE(MatchesPattern(Named("x", {""}),
                              "?*"
                              "y"));
}

TEST(ValidateLeakPolicy, WhatMakesNoSense) {
  EXPECT_TRUE(Validate(LeakPolicy()).ok());
  EXPECT_FALSE(Validate(LeakPolicy{.wait = absl::ZeroDuration()}).ok());
  EXPECT_FALSE(Validate(LeakPolicy{.keep = {"a", ""}}).ok());
}

TEST(Keeps, IfAnybodyIsToBeKept) {
  EXPECT_FALSE(Keeps(LeakPolicy()));
  EXPECT_FALSE(Keeps(LeakPolicy{.on_leak = OnLeak::kWait}));
  EXPECT_TRUE(Keeps(LeakPolicy{.on_leak = OnLeak::kKeep}));
  EXPECT_TRUE(Keeps(LeakPolicy{.keep = {"a"}}));
}

}  // namespace
}  // namespace treekill
