#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "treekill/treekill.h"

namespace treekill {
namespace {

using ::testing::HasSubstr;

template <typename Value>
bool IsRefused(const Value& value) {
  absl::Status status = Validate(value);
  EXPECT_EQ(status.message().find('\n'), status.message().npos) << status;
  EXPECT_EQ(status.message().empty(), status.ok());
  return absl::IsInvalidArgument(status);
}

TEST(TeardownPolicy, TheDefaultCanBeCarriedOut) {
  EXPECT_TRUE(Validate(TeardownPolicy()).ok());
  EXPECT_TRUE(Validate(TeardownPolicy{.steps = {}}).ok());
}

TEST(TeardownPolicy, Signals) {
  for (int signal : {1, SIGTERM, SIGKILL, 64}) {
    EXPECT_TRUE(Validate(TeardownPolicy{.steps = {{signal}}}).ok()) << signal;
  }
  for (int signal : {-1, 0, 65, 1 << 30}) {
    EXPECT_TRUE(IsRefused(TeardownPolicy{.steps = {{}, {signal}}})) << signal;
  }
}

TEST(TeardownPolicy, GracePeriods) {
  for (absl::Duration grace :
       {absl::ZeroDuration(), absl::Hours(1), absl::InfiniteDuration()}) {
    EXPECT_TRUE(Validate(TeardownPolicy{.steps = {{SIGTERM, grace}}}).ok());
  }
  for (absl::Duration grace :
       {-absl::Nanoseconds(1), -absl::InfiniteDuration()}) {
    EXPECT_TRUE(IsRefused(TeardownPolicy{.steps = {{SIGTERM, grace}}}));
  }
}

TEST(TeardownPolicy, DrainTimeout) {
  EXPECT_TRUE(
      Validate(TeardownPolicy{.drain_timeout = absl::InfiniteDuration()}).ok());
  for (absl::Duration drain : {absl::ZeroDuration(), -absl::Seconds(1)}) {
    EXPECT_TRUE(IsRefused(TeardownPolicy{.drain_timeout = drain}));
  }
}

TEST(TreeOptions, GoodNames) {
  for (const std::string& name :
       {std::string(), std::string("build"), std::string("a.b-c_d:e@f+1"),
        std::string("_"), std::string(128, 'x')}) {
    EXPECT_TRUE(Validate(TreeOptions{.name = name}).ok()) << name;
  }
}

TEST(TreeOptions, NamesThatCouldLeaveTheirPlace) {
  for (const char* name : {"/", "a/b", "..", ".", "../x", ".hidden", "-x"}) {
    EXPECT_TRUE(IsRefused(TreeOptions{.name = name})) << name;
  }
}

TEST(TreeOptions, NamesThatCouldDoSomethingToATerminalOrAList) {
  for (const char* name : {"a b", "a\nb", "\x1b[2J", "a\x7f", "\xff",
                           "gr\xc3\xbcn", "a\\b", "a'b", "a$b", "a*"}) {
    EXPECT_TRUE(IsRefused(TreeOptions{.name = name})) << name;
  }
  EXPECT_TRUE(IsRefused(TreeOptions{.name = std::string("a\0b", 3)}));
}

TEST(TreeOptions, NamesThatAreTooLong) {
  EXPECT_TRUE(IsRefused(TreeOptions{.name = std::string(129, 'x')}));
  EXPECT_TRUE(IsRefused(TreeOptions{.name = std::string(300, 'x')}));
}

TEST(TreeOptions, Timeouts) {
  EXPECT_TRUE(Validate(TreeOptions{.timeout = absl::Nanoseconds(1)}).ok());
  for (absl::Duration timeout :
       {absl::ZeroDuration(), -absl::Seconds(1), -absl::InfiniteDuration()}) {
    EXPECT_TRUE(IsRefused(TreeOptions{.timeout = timeout}));
  }
}

TEST(TreeOptions, TimeoutSignals) {
  for (int signal : {0, SIGINT, SIGKILL, 64}) {
    EXPECT_TRUE(Validate(TreeOptions{.timeout_signal = signal}).ok());
  }
  for (int signal : {-1, 65}) {
    EXPECT_TRUE(IsRefused(TreeOptions{.timeout_signal = signal})) << signal;
  }
}

TEST(TreeOptions, TheTeardownIsLookedAtToo) {
  EXPECT_TRUE(IsRefused(TreeOptions{.teardown = {.steps = {{0}}}}));
}

TEST(Command, NothingToRun) {
  EXPECT_TRUE(IsRefused(Command()));
  EXPECT_TRUE(IsRefused(Command{.argv = {""}}));
  EXPECT_TRUE(Validate(Command{.argv = {"true", ""}}).ok());
}

TEST(Command, NulBytes) {
  const std::string nul("a\0b", 3);
  EXPECT_TRUE(IsRefused(Command{.argv = {nul}}));
  EXPECT_TRUE(IsRefused(Command{.argv = {"true", nul}}));
  EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .environment = {{nul}}}));
  EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .working_directory = nul}));
}

TEST(Command, ExtraDescriptors) {
  auto with = [](std::vector<ExtraFd> fds) {
    return Command{.argv = {"true"}, .extra_fds = std::move(fds)};
  };
  EXPECT_TRUE(Validate(with({{0, 3}, {0, 4}})).ok());
  EXPECT_TRUE(IsRefused(with({{0, 3}, {1, 3}})));
  EXPECT_TRUE(IsRefused(with({{-1, 3}})));
  EXPECT_TRUE(IsRefused(with({{5, -1}})));
  EXPECT_TRUE(IsRefused(with({{5, 1}})));
  EXPECT_TRUE(IsRefused(with({{}})));
}

// What open(2) has returned is passed on unseen; a failure must not turn into
// the caller's own stream, or into /dev/null.
TEST(Command, StreamsThatAreNoDescriptors) {
  for (int fd : {-1, -2, -3}) {
    EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .stdin_ = Stream::Fd(fd)}))
        << fd;
    EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .stdout_ = Stream::Fd(fd)}))
        << fd;
    EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .stderr_ = Stream::Fd(fd)}))
        << fd;
  }
}

TEST(Command, SignalsToKeepIgnored) {
  EXPECT_TRUE(
      Validate(Command{.argv = {"true"}, .keep_ignored = {SIGHUP, 64}}).ok());
  EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .keep_ignored = {0}}));
  EXPECT_TRUE(IsRefused(Command{.argv = {"true"}, .keep_ignored = {65}}));
}

TEST(KillModeName, IsWhatParseKillModeTakes) {
  const std::vector<std::string> kNames = {"control-group", "mixed",
                                           "process-group", "process"};
  for (const std::string& name : kNames) {
    std::optional<KillMode> mode = ParseKillMode(name);
    ASSERT_TRUE(mode.has_value()) << name;
    EXPECT_EQ(KillModeName(*mode), name);
  }
  for (const char* name : {"", "Mixed", "mixed ", "group", "none"}) {
    EXPECT_EQ(ParseKillMode(name), std::nullopt) << name;
  }
}

TEST(ContainmentName, IsWhatParseContainmentTakes) {
  const std::vector<std::string> kNames = {"auto", "process", "process-group",
                                           "cgroup"};
  for (const std::string& name : kNames) {
    std::optional<Containment> containment = ParseContainment(name);
    ASSERT_TRUE(containment.has_value()) << name;
    EXPECT_EQ(ContainmentName(*containment), name);
  }
  for (const char* name : {"", "CGROUP", "cgroups", "none"}) {
    EXPECT_EQ(ParseContainment(name), std::nullopt) << name;
  }
}

TEST(Containment, AStrongerOneIsGreater) {
  EXPECT_LT(Containment::kProcess, Containment::kProcessGroup);
  EXPECT_LT(Containment::kProcessGroup, Containment::kCgroup);
}

TEST(ExitStatus, Exited) {
  ExitStatus status = ExitStatus::Exited(3);
  EXPECT_TRUE(status.known() && status.exited());
  EXPECT_FALSE(status.signaled() || status.success() || status.core_dumped());
  EXPECT_EQ(status.code(), 3);
  EXPECT_EQ(status.signal(), 0);
  EXPECT_EQ(status.ShellCode(), 3);
  EXPECT_EQ(status.ToString(), "exit code 3");
  EXPECT_TRUE(ExitStatus::Exited(0).success());
}

TEST(ExitStatus, Signaled) {
  ExitStatus status = ExitStatus::Signaled(SIGKILL, /*core_dumped=*/false);
  EXPECT_TRUE(status.known() && status.signaled());
  EXPECT_FALSE(status.exited() || status.success() || status.core_dumped());
  EXPECT_EQ(status.code(), 0);
  EXPECT_EQ(status.signal(), SIGKILL);
  EXPECT_EQ(status.ShellCode(), 137);
  EXPECT_EQ(status.ToString(), "signal KILL");
}

TEST(ExitStatus, CoreDumped) {
  ExitStatus status = ExitStatus::Signaled(SIGSEGV, /*core_dumped=*/true);
  EXPECT_TRUE(status.core_dumped());
  EXPECT_EQ(status.ShellCode(), 139);
  EXPECT_THAT(status.ToString(), HasSubstr("core dumped"));
}

TEST(ExitStatus, Unknown) {
  ExitStatus status;
  EXPECT_FALSE(status.known() || status.exited() || status.signaled());
  EXPECT_FALSE(status.success());
  EXPECT_EQ(status.ShellCode(), 125);
  EXPECT_EQ(status.ToString(), "unknown");
}

}  // namespace
}  // namespace treekill
