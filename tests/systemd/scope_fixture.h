// treekill as root and users find it on a machine that systemd runs.
#ifndef TREEKILL_TESTS_SYSTEMD_SCOPE_FIXTURE_H_
#define TREEKILL_TESTS_SYSTEMD_SCOPE_FIXTURE_H_

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tests/systemd/fixture.h"

namespace treekill::rig {

// With both managers, each on its own.
enum class Who { kRoot, kUser };

// For a script: waits until its last child in the background is sleep(1).
inline constexpr char kUntilItSleeps[] =
    "until grep -qx sleep /proc/$!/comm; do :; done";

class ScopeTest : public SystemdTest {
 protected:
  void SetUp() override {
    SystemdTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    treekill_ = ForEveryone(TreekillPath());
    std::string helper = BuildFolder() + "/treekill-systemd";
    // Once more for each test, as one may have named another.
    setenv("TREEKILL_SYSTEMD", ForEveryone(helper).c_str(), 1);
  }

  // Nothing of treekill's: no scope that systemd knows, no cgroup.
  void ExpectNothingLeft() override {
    EXPECT_TRUE(Eventually([] { return Cgroups().empty(); }))
        << testing::PrintToString(Cgroups());
    EXPECT_EQ(Systemctl({"list-units", "--all", "--no-legend", "treekill-*"}),
              "");
    EXPECT_EQ(Systemctl({"--failed", "--no-legend"}), "");
  }

  Arguments Treekill(Arguments arguments) const {
    return Subcommand("run", std::move(arguments));
  }
  Arguments Subcommand(const std::string& word, Arguments arguments) const {
    arguments.insert(arguments.begin(), {treekill_, word});
    return arguments;
  }
  Outcome RunAs(Who who, Arguments argv) const {
    return who == Who::kRoot ? Run(std::move(argv))
                             : RunInSession(kTester, std::move(argv));
  }

  std::string Systemctl(Arguments arguments) const {
    arguments.insert(arguments.begin(), {"systemctl", "--no-pager"});
    return Run(std::move(arguments)).output;
  }

  // Every cgroup of treekill's.
  static std::vector<std::string> Cgroups() {
    namespace fs = std::filesystem;
    std::vector<std::string> found;
    std::error_code error;
    for (fs::recursive_directory_iterator at("/sys/fs/cgroup", error), end;
         at != end; at.increment(error)) {
      std::string name = at->path().filename();
      if (absl::StartsWith(name, "treekill-")) found.push_back(at->path());
      if (error) break;
    }
    return found;
  }

 private:
  std::string treekill_;
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_SYSTEMD_SCOPE_FIXTURE_H_
