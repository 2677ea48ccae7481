// A command under treekill that systemd has set up something for: a socket to
// notify it by, a watchdog, sockets to listen on.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/systemd/scope_fixture.h"
#include "treekill/kernel/fd.h"

namespace treekill::rig {
namespace {

using ::testing::IsEmpty;

constexpr char kScript[] = "/run/command.sh";
constexpr char kSaid[] = "/run/said";

class NotifyTest : public ScopeTest {
 protected:
  void TearDown() override {
    if (!IsSkipped()) {
      Systemctl({"stop", "svc.socket", "svc.service"});
      Systemctl({"reset-failed"});
    }
    ScopeTest::TearDown();
  }

  // svc.service: treekill with `script`, of type notify.
  void MakeService(const std::string& settings, const std::string& script) {
    WriteAll(kScript, script);
    std::string run = absl::StrJoin(Treekill({"sh", kScript}), " ");
    WriteAll("/run/systemd/system/svc.service",
             absl::StrCat("[Service]\nType=notify\nDelegate=yes\nExecStart=",
                          run, "\nEnvironment=", kCookieVariable, "=", cookie(),
                          "\n", settings));
    Systemctl({"daemon-reload"});
  }

  int Start() { return Run({"systemctl", "start", "svc.service"}).exit_code(); }

  std::string Property(const std::string& name) const {
    std::string value =
        Systemctl({"show", "--value", "--property", name, "svc.service"});
    return value.substr(0, value.find('\n'));
  }
};

TEST_F(NotifyTest, TheCommandSaysThatTheUnitIsReady) {
  MakeService("NotifyAccess=all\n",
              "systemd-notify --ready --status=fine\n"
              "setsid sleep 1000 &\nsleep 1000\n");
  EXPECT_EQ(Start(), 0);
  EXPECT_EQ(Property("ActiveState"), "active");
  EXPECT_EQ(Property("StatusText"), "fine");
  Systemctl({"stop", "svc.service"});
  EXPECT_EQ(Property("Result"), "success");
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
}

// The main process is treekill: systemd listens to no other unless told to.
TEST_F(NotifyTest, WithoutNotifyAccessItIsNotHeard) {
  MakeService("TimeoutStartSec=2\n",
              "systemd-notify --ready\nsetsid sleep 1000 &\nsleep 1000\n");
  EXPECT_NE(Start(), 0);
  EXPECT_EQ(Property("Result"), "timeout");
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
}

TEST_F(NotifyTest, TheCommandFeedsTheWatchdog) {
  MakeService("NotifyAccess=all\nWatchdogSec=4\n",
              absl::StrCat("systemd-notify --ready\n"
                           "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do\n"
                           "  systemd-notify WATCHDOG=1; sleep 0.6\n"
                           "done\n"
                           "echo \"$WATCHDOG_USEC\" >",
                           kSaid,
                           "\nwhile systemd-notify WATCHDOG=1; do sleep 0.6; "
                           "done\n"));
  EXPECT_EQ(Start(), 0);
  EXPECT_TRUE(Eventually([] { return ReadAll(kSaid) == "4000000\n"; }));
  EXPECT_EQ(Property("ActiveState"), "active");
}

TEST_F(NotifyTest, WhenItDoesNotNothingOfItIsLeft) {
  MakeService("NotifyAccess=all\nWatchdogSec=1\n",
              "systemd-notify --ready\n(setsid sleep 1000 &)\nsleep 1000\n");
  EXPECT_EQ(Start(), 0);
  EXPECT_TRUE(Eventually([&] { return Property("Result") == "watchdog"; }));
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
}

TEST_F(NotifyTest, WhatNamesTheMainProcessNamesTheCommand) {
  MakeService("NotifyAccess=all\nWatchdogSec=60\n",
              absl::StrCat("echo $(($WATCHDOG_PID - $$)) "
                           "$(($SYSTEMD_EXEC_PID - $$)) >",
                           kSaid, "\nsystemd-notify --ready\nsleep 1000\n"));
  EXPECT_EQ(Start(), 0);
  EXPECT_EQ(ReadAll(kSaid), "0 0\n");
}

// There the command waits for systemd before it begins.
TEST_F(NotifyTest, InAScopeAsWell) {
  Arguments argv = {"sh", "-c",
                    "NOTIFY_SOCKET=/some WATCHDOG_USEC=5 WATCHDOG_PID=$$ "
                    "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3</dev/null",
                    "sh"};
  const char* show =
      "echo $(($WATCHDOG_PID - $$)) $(($LISTEN_PID - $$)) $WATCHDOG_USEC "
      "$LISTEN_FDS $NOTIFY_SOCKET; readlink /proc/$$/fd/3";
  for (const std::string& word :
       Treekill({"--require=scope", "sh", "-c", show})) {
    argv.push_back(word);
  }
  Outcome outcome = Run(argv);
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(outcome.output, "0 0 5 1 /some\n/dev/null\n");
}

kernel::UniqueFd Connect(const std::string& path) {
  kernel::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  EXPECT_EQ(
      connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)),
      0);
  return fd;
}

bool IsReadable(const kernel::UniqueFd& fd) {
  pollfd ready{fd.get(), POLLIN, 0};
  return poll(&ready, 1, 0) == 1;
}

// systemd-socket-proxyd asks sd_listen_fds(3), and gives up without sockets.
TEST_F(NotifyTest, ASocketThatSystemdListensOnReachesTheCommand) {
  MakeService("NotifyAccess=all\n",
              "exec /lib/systemd/systemd-socket-proxyd /run/target\n");
  WriteAll("/run/systemd/system/svc.socket",
           "[Socket]\nListenStream=/run/activated\n");
  Systemctl({"daemon-reload"});
  kernel::UniqueFd target = Listen("/run/target");
  ASSERT_EQ(Run({"systemctl", "start", "svc.socket"}).exit_code(), 0);
  kernel::UniqueFd client = Connect("/run/activated");
  ASSERT_EQ(write(client.get(), "hello", 5), 5);
  ASSERT_TRUE(Eventually([&] { return IsReadable(target); }))
      << Systemctl({"status", "svc.service"});
  kernel::UniqueFd server(
      accept4(target.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(Eventually([&] { return IsReadable(server); }));
  char text[16] = {};
  ASSERT_EQ(read(server.get(), text, sizeof(text)), 5);
  EXPECT_STREQ(text, "hello");
}

}  // namespace
}  // namespace treekill::rig
