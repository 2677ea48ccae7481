// Units that are not treekill's, for it to find.
#ifndef TREEKILL_TESTS_SYSTEMD_UNIT_FIXTURE_H_
#define TREEKILL_TESTS_SYSTEMD_UNIT_FIXTURE_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/systemd/scope_fixture.h"

namespace treekill::rig {

// A daemon that ignores TERM, and a process in a cgroup below the unit's own:
// five of them, with the shells.
inline constexpr char kEscapees[] =
    "own=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); "
    "mkdir $own/main $own/nested; echo $$ >$own/main/cgroup.procs; "
    "(trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000' &) & "
    "sleep 1000 & echo $! >$own/nested/cgroup.procs; "
    "exec sleep 1000";
inline constexpr size_t kEscapeeCount = 5;

class UnitTest : public ScopeTest {
 protected:
  void TearDown() override {
    // Who was killed has failed, says systemd.
    if (!IsSkipped()) Run({"systemctl", "reset-failed"});
    ScopeTest::TearDown();
  }

  Outcome As(Who who, const std::string& word, Arguments arguments) const {
    return RunAs(who, Subcommand(word, std::move(arguments)));
  }

  // Starts a service by systemd-run, and waits until it has `count` processes,
  // each of which has come to where it stays.
  void StartService(Who who, const std::string& unit, Arguments properties,
                    const std::string& script, size_t count) const {
    if (who == Who::kUser) KeepManager(kTester);
    Arguments argv = {
        "systemd-run", "--quiet", absl::StrCat("--unit=", unit),
        absl::StrCat("--setenv=", kCookieVariable, "=", cookie())};
    if (who == Who::kUser) argv.push_back("--user");
    for (const std::string& property : properties) {
      argv.push_back(absl::StrCat("--property=", property));
    }
    argv.insert(argv.end(), {"sh", "-c", script});
    ASSERT_EQ(RunAs(who, argv).exit_code(), 0);
    ASSERT_TRUE(Eventually([&] {
      std::vector<pid_t> pids = FindByCookie(cookie());
      return pids.size() == count &&
             std::all_of(pids.begin(), pids.end(), IsAtRest);
    })) << testing::PrintToString(FindByCookie(cookie()));
  }

  std::string StateOf(Who who, const std::string& unit) const {
    Arguments argv = {"systemctl", "is-active", unit};
    if (who == Who::kUser) argv.push_back("--user");
    return RunAs(who, argv).output;
  }
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_SYSTEMD_UNIT_FIXTURE_H_
