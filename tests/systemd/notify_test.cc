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
    WriteAll(folder_.File("script"), script);
    std::string run =
        absl::StrJoin(Treekill({"sh", folder_.File("script")}), " ");
    WriteAll(
        "/run/systemd/system/svc.service",
        absl::StrCat("[Service]\nType=notify\nDelegate=yes\nExecStart=", run,
                     "\nEnvironment=", kCookieVariable, "=", cookie(),
                     "\nWorkingDirectory=", folder_.path(), "\n", settings));
    Systemctl({"daemon-reload"});
  }

  // What the command has written to there.
  std::string said() const { return ReadAll(folder_.File("said")); }
  std::string File(const std::string& name) const { return folder_.File(name); }

  int Start() { return Run({"systemctl", "start", "svc.service"}).exit_code(); }

  std::string Property(const std::string& name) const {
    std::string value =
        Systemctl({"show", "--value", "--property", name, "svc.service"});
    return value.substr(0, value.find('\n'));
  }

 private:
  const TempDir folder_;
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
  // It returns when systemd has read what it has sent.
  const char* script =
      "systemd-notify --ready\necho done >said\n"
      "setsid sleep 1000 &\nsleep 1000\n";
  MakeService("TimeoutStartSec=infinity\n", script);
  Program start({"systemctl", "start", "svc.service"});
  ASSERT_TRUE(Eventually([&] { return said() == "done\n"; }));
  EXPECT_EQ(Property("ActiveState"), "activating");
  // Reading that, systemd finds the time over.
  MakeService("TimeoutStartSec=1ms\n", script);
  EXPECT_NE(start.Wait().exit_code(), 0);
  EXPECT_EQ(Property("Result"), "timeout");
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
}

TEST_F(NotifyTest, TheCommandFeedsTheWatchdog) {
  MakeService("NotifyAccess=all\nWatchdogSec=300\n",
              "systemd-notify --ready\n"
              "until [ -e feed ]; do sleep 0.02; done\n"
              "systemd-notify WATCHDOG=1\n"
              "echo \"$WATCHDOG_USEC\" >said\nsleep 1000\n");
  EXPECT_EQ(Start(), 0);
  const std::string fed = Property("WatchdogTimestampMonotonic");
  WriteAll(File("feed"), "");
  EXPECT_TRUE(Eventually([&] { return said() == "300000000\n"; }));
  EXPECT_GT(std::stoll(Property("WatchdogTimestampMonotonic")),
            std::stoll(fed));
  EXPECT_EQ(Property("ActiveState"), "active");
}

TEST_F(NotifyTest, WhenItDoesNotNothingOfItIsLeft) {
  MakeService("NotifyAccess=all\nWatchdogSec=200ms\n",
              "(setsid sleep 1000 &)\nsystemd-notify --ready\nsleep 1000\n");
  EXPECT_EQ(Start(), 0);
  EXPECT_TRUE(Eventually([&] { return Property("Result") == "watchdog"; }));
  EXPECT_THAT(WaitForNobody(cookie(), absl::Minutes(1)), IsEmpty());
}

TEST_F(NotifyTest, WhatNamesTheMainProcessNamesTheCommand) {
  MakeService("NotifyAccess=all\nWatchdogSec=300\n",
              "echo $(($WATCHDOG_PID - $$)) $(($SYSTEMD_EXEC_PID - $$)) >said\n"
              "systemd-notify --ready\nsleep 1000\n");
  EXPECT_EQ(Start(), 0);
  EXPECT_EQ(said(), "0 0\n");
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
              absl::StrCat("exec /lib/systemd/systemd-socket-proxyd ",
                           File("target"), "\n"));
  WriteAll("/run/systemd/system/svc.socket",
           absl::StrCat("[Socket]\nListenStream=", File("activated"), "\n"));
  Systemctl({"daemon-reload"});
  kernel::UniqueFd target = Listen(File("target"));
  ASSERT_EQ(Run({"systemctl", "start", "svc.socket"}).exit_code(), 0);
  kernel::UniqueFd client = Connect(File("activated"));
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
