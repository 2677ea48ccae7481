// What the tests share in which treekill, its guardian, or whom it depends on
// is killed.
#ifndef TREEKILL_TESTS_CLI_DEATH_FIXTURE_H_
#define TREEKILL_TESTS_CLI_DEATH_FIXTURE_H_

#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {

// For a script of bash: members of every kind, none of which ends by itself. No
// process is born or ends when there is `ready`.
inline constexpr char kHardToKill[] =
    "echo $$ >leader\n"
    "setsid sleep 600 &\n"
    "(setsid bash -c 'sleep 600 &')\n"
    "setsid bash -c 'trap \"\" TERM HUP INT; >deaf; exec sleep 600' &\n"
    "while [ ! -e deaf ]; do sleep 0.02; done\n"
    ">ready; exec sleep 600\n";

// One member that is asked to end by TERM or HUP, makes `term`, and needs until
// there is `go` to make `late`. It does so itself: a child that is born while
// the signal is sent round gets it too. Beside it there is the leader only,
// which dies with treekill even if it has not had the signal by then.
inline constexpr char kSlowMember[] =
    "setsid bash -c '\n"
    "  trap \">term; while [ ! -e go ]; do sleep 0.02; done; >late; exit\" \\\n"
    "    TERM HUP\n"
    "  >ready; while :; do sleep 0.02; done' 2>/dev/null &\n"
    "exec sleep 600\n";

// A command that ends, with 7, when there is `done`.
inline constexpr char kUntilDone[] =
    "touch ready; while [ ! -e done ]; do sleep 0.02; done; exit 7\n";

class DeathTest : public CliTest {
 protected:
  // The arguments of `treekill run` for this script, in the test's folder.
  Arguments ScriptRun(const std::string& script, Arguments options = {}) {
    WriteAll(File("script"), absl::StrCat("cd ", directory(), "\n", script));
    options.insert(options.end(), {"--", "bash", File("script")});
    return options;
  }

  // Returns when the script has made `ready`.
  std::unique_ptr<Program> StartScript(
      const std::string& script, Arguments options = {},
      std::function<void()> prepare = nullptr) {
    std::unique_ptr<Program> program =
        StartRun(ScriptRun(script, std::move(options)), std::move(prepare));
    EXPECT_TRUE(Comes("ready"));
    return program;
  }

  // With it treekill's clock leaps ahead by an hour when there is `leap`. Its
  // guardian has no environment, and so another clock.
  std::string LeapVariable() const { return "TREEKILL_LEAP=" + File("leap"); }

  bool Exists(const std::string& name) {
    return access(File(name).c_str(), F_OK) == 0;
  }
  bool Comes(const std::string& name) {
    return Eventually([&] { return Exists(name); });
  }

  // The number in a file that the script writes.
  pid_t PidIn(const std::string& name) {
    pid_t pid = 0;
    EXPECT_TRUE(Eventually([&] {
      return Read(name).ends_with('\n') && absl::SimpleAtoi(Read(name), &pid);
    })) << name;
    return pid;
  }

  nlohmann::json Report() {
    return nlohmann::json::parse(Read("report"), nullptr,
                                 /*allow_exceptions=*/false);
  }
  std::string ReportOption() const { return "--report=" + File("report"); }

  static bool IsGuardian(const kernel::ProcessStat& stat) {
    // The second for the moment of its exec.
    return !stat.IsDead() &&
           (stat.comm == guardian::kGuardianName || stat.comm == "exe");
  }

  // The guardian of a treekill; 0 without one. It has a moment's time to take
  // its name.
  static pid_t GuardianNow(pid_t supervisor) {
    absl::StatusOr<std::vector<pid_t>> all = kernel::ListProcesses();
    if (!all.ok()) return 0;
    for (pid_t pid : *all) {
      std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
      if (stat.has_value() && stat->parent == supervisor && IsGuardian(*stat)) {
        return pid;
      }
    }
    return 0;
  }

  // Waits for one that is not `before`.
  static pid_t GuardianOf(pid_t supervisor, pid_t before = 0) {
    pid_t pid = 0;
    EXPECT_TRUE(Eventually([&] {
      pid = GuardianNow(supervisor);
      return pid != 0 && pid != before;
    })) << "no guardian of "
        << supervisor;
    return pid;
  }

  // The same, when it has become what it stays: at first it is parked.
  static pid_t SettledGuardianOf(pid_t supervisor) {
    pid_t pid = GuardianOf(supervisor);
    EXPECT_TRUE(Eventually([&] {
      return SleepsIn(pid, "poll") &&
             ReadAll(absl::StrCat("/proc/", pid, "/cmdline"))
                 .starts_with(
                     absl::StrCat("treekill: guardian of ", supervisor));
    }));
    return pid;
  }

  static bool IsGuardianAlive(pid_t pid) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    return stat.has_value() && IsGuardian(*stat);
  }

  static bool IsAlive(pid_t pid) {
    std::optional<kernel::ProcessStat> stat = kernel::ReadProcessStat(pid);
    return stat.has_value() && !stat->IsDead();
  }

  // Waits until the guardian, treekill being dead, has taken over the one leaf
  // that there is, and has gone to sleep: one that gives no grace would have
  // killed the members by then.
  static void AwaitTakenOver(pid_t guardian) {
    EXPECT_TRUE(Eventually([&] {
      std::vector<std::string> leaves = LeftLeaves();
      return leaves.size() == 1 &&
             getxattr(leaves[0].c_str(), "user.treekill.owner", nullptr, 0) >
                 0 &&
             SleepsIn(guardian, "poll");
    }));
  }

  // Waits until the process has gone to sleep so many times more, as a treekill
  // does each time that it has looked in vain.
  static void AwaitSleeps(pid_t pid, int count) {
    auto sleeps = [pid] {
      std::string status = ReadAll(absl::StrCat("/proc/", pid, "/status"));
      std::string label = "\nvoluntary_ctxt_switches:\t";
      size_t found = status.find(label);
      if (found == std::string::npos) return int64_t{0};
      return int64_t{atoll(status.c_str() + found + label.size())};
    };
    const int64_t before = sleeps();
    EXPECT_TRUE(Eventually([&] { return sleeps() >= before + count; }));
  }

  void ExpectAllGone(pid_t guardian) {
    EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(60)), testing::IsEmpty());
    EXPECT_TRUE(Eventually([] { return LeftLeaves().empty(); }));
    EXPECT_TRUE(Eventually([&] { return !IsGuardianAlive(guardian); }));
  }

  // Treekill and its guardian at one instant: a guardian that is stopped first
  // cannot do its work. Before it has a session of its own, the kernel would
  // continue it, as a member of a process group that becomes orphaned.
  static void KillBoth(Program& treekill) {
    pid_t guardian = SettledGuardianOf(treekill.pid());
    kill(guardian, SIGSTOP);
    EXPECT_TRUE(Eventually([&] { return StateOf(guardian) == 'T'; }));
    treekill.Signal(SIGKILL);
    EXPECT_EQ(treekill.Wait().signal(), SIGKILL);
    kill(guardian, SIGKILL);
    EXPECT_TRUE(Eventually([&] { return !IsGuardianAlive(guardian); }));
  }

  // `treekill gc` for what this test has left, and nobody else's.
  Outcome Gc(Arguments options = {}) {
    options.insert(options.begin(), {TreekillPath(), "gc"});
    options.push_back(OwnCgroup());
    return Start(options)->Wait();
  }
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_DEATH_FIXTURE_H_
