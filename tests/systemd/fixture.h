// What every test on a systemd machine shares. tests/rig/systemd_machine runs
// a suite of them as root in a scope of the system manager, on a machine of the
// suite's own. Each test leaves the machine to the next one as it found it; one
// that cannot is a suite of its own.
#ifndef TREEKILL_TESTS_SYSTEMD_FIXTURE_H_
#define TREEKILL_TESTS_SYSTEMD_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"
#include "treekill/kernel/fd.h"

namespace treekill::rig {

using Arguments = std::vector<std::string>;

// Why this process is on no machine of the rig's; empty when it is on one.
inline std::string WhyNoMachine() {
  if (const char* reason = getenv("TREEKILL_NO_MACHINE")) return reason;
  if (getenv("TREEKILL_MACHINE") != nullptr) return "";
  return "not started by tests/rig/systemd_machine";
}

// Ordinary users that exist on the machine only.
struct User {
  const char* name;
  uid_t uid;

  std::string runtime_dir() const { return absl::StrCat("/run/user/", uid); }
  std::string slice() const {
    return absl::StrCat("/user.slice/user-", uid, ".slice");
  }
  // The cgroup of the user's own manager.
  std::string manager() const {
    return absl::StrCat(slice(), "/user@", uid, ".service");
  }
};
inline constexpr User kTester{"tester", 4321};
inline constexpr User kTester2{"tester2", 4322};

// The command as the user would run it after a login: in a session, with a user
// manager and its bus.
inline Arguments InSession(const User& user, Arguments argv) {
  argv.insert(argv.begin(),
              {getenv("TREEKILL_MACHINE"), "--session", user.name});
  return argv;
}

// The command with the user's rights and an environment of nothing but PATH:
// no session, in the cgroup of the test. `extra` adds to that environment.
inline Arguments WithoutSession(const User& user, Arguments argv,
                                std::map<std::string, std::string> extra = {}) {
  Arguments whole = {getenv("TREEKILL_MACHINE"), "--no-session", user.name};
  if (!extra.empty()) whole.push_back("env");
  for (const auto& [name, value] : extra) {
    whole.push_back(absl::StrCat(name, "=", value));
  }
  whole.insert(whole.end(), argv.begin(), argv.end());
  return whole;
}

// A copy of a built program where every user can run it: the folder that it
// was built in may be one that only root can enter.
inline std::string ForEveryone(const std::string& program) {
  namespace fs = std::filesystem;
  const fs::path copy = "/run/programs" / fs::path(program).filename();
  fs::create_directories(copy.parent_path());
  fs::copy_file(program, copy, fs::copy_options::skip_existing);
  return copy.string();
}

// A socket where connections are taken, but nobody answers.
inline kernel::UniqueFd Listen(const std::string& path) {
  kernel::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  EXPECT_EQ(
      bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)),
      0);
  EXPECT_EQ(listen(fd.get(), 10), 0);
  return fd;
}

class SystemdTest : public testing::Test {
 protected:
  // Skips where there is no machine; like a missing cgroup, that is a failure
  // where TREEKILL_REQUIRE_CGROUP=1.
  void SetUp() override {
    std::string reason = WhyNoMachine();
    if (reason.empty()) return;
    if (CgroupIsRequired()) FAIL() << reason;
    GTEST_SKIP() << reason;
  }

  // Nothing that a test starts with this in its environment may outlive it.
  void TearDown() override {
    if (!WhyNoMachine().empty()) return;
    EXPECT_THAT(WaitForNobody(cookie_, absl::Minutes(1)), testing::IsEmpty());
    ExpectNothingLeft();
    ResetMachine();
  }

  // What else a test must not leave behind.
  virtual void ExpectNothingLeft() {}

  std::map<std::string, std::string> environment() const {
    return {{kCookieVariable, cookie_}, {"LC_ALL", "C"}};
  }
  const std::string& cookie() const { return cookie_; }

  // Runs it to its end as root, with the cookie.
  Outcome Run(Arguments argv) const {
    return RunProgram(std::move(argv), environment());
  }
  Outcome RunInSession(const User& user, Arguments argv) const {
    return Run(InSession(user, std::move(argv)));
  }
  Outcome RunWithoutSession(const User& user, Arguments argv) const {
    return Run(WithoutSession(user, std::move(argv), environment()));
  }

  // Those with the cookie that are called `name`.
  std::vector<pid_t> Named(const std::string& name) const {
    std::vector<pid_t> named = FindByCookie(cookie_);
    std::erase_if(named, [&](pid_t pid) { return !IsCalled(pid, name); });
    return named;
  }
  static bool IsCalled(pid_t pid, const std::string& name) {
    return ReadAll(absl::StrCat("/proc/", pid, "/comm")) == name + "\n";
  }

  // The user's manager does not end with each session.
  void KeepManager(const User& user) const {
    Run({"loginctl", "enable-linger", user.name});
    EXPECT_TRUE(Eventually([&] {
      return std::filesystem::exists(user.runtime_dir() + "/bus");
    })) << user.name
        << " has no bus";
  }

 private:
  void ResetMachine() const {
    namespace fs = std::filesystem;
    for (const User& user : {kTester, kTester2}) {
      if (!fs::exists(user.runtime_dir())) continue;
      Run({"loginctl", "disable-linger", user.name});
      Run({"loginctl", "terminate-user", user.name});
      EXPECT_TRUE(Eventually([&] { return !fs::exists(user.runtime_dir()); }))
          << user.name << " is still there";
    }
    // The unit files that the test has written.
    std::error_code error;
    bool written = false;
    for (const auto& file :
         fs::directory_iterator("/run/systemd/system", error)) {
      written = fs::remove_all(file.path()) > 0 || written;
    }
    if (written) Run({"systemctl", "daemon-reload"});
    Run({"systemctl", "reset-failed"});
  }

  const std::string cookie_ = NewCookie();
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_SYSTEMD_FIXTURE_H_
