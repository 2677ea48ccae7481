// SIGKILL to every set of those who take part in a run, in any order and at any
// moment: nothing of the tree may be left, and no leaf.
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;
using kernel::ProcessStat;

// In the order of their births.
enum Role { kCaller, kTreekill, kGuardian, kLeader, kRoles };
constexpr const char* kRoleNames[kRoles] = {"caller", "treekill", "guardian",
                                            "leader"};
// Bits of roles.
using Subset = unsigned;
constexpr Subset Bit(Role role) { return 1U << role; }
// With both gone at once there is nobody who would act by himself.
constexpr Subset kGuards = Bit(kTreekill) | Bit(kGuardian);
// Whose death ends the tree.
constexpr Subset kVital = Bit(kCaller) | Bit(kTreekill) | Bit(kLeader);

enum Moment { kBeforeExec, kRunning, kInGrace, kDraining, kMoments };
constexpr const char* kMomentNames[kMoments] = {"before exec", "running",
                                                "in grace", "draining"};

// Then the tree comes to its end by itself.
bool MayBeEnding(Moment moment) {
  return moment == kInGrace || moment == kDraining;
}

constexpr absl::Duration kGrace = absl::Milliseconds(150);

// A leader and a daemon that ignore TERM, and a child in a session of its own
// that does not: a grace is used up, and can be seen to have begun.
constexpr char kCommand[] =
    "\"$0\" setsid --cookie=$1\n"
    "trap '' TERM\n"
    "\"$0\" daemon --cookie=$1\n"
    "exec \"$0\" double-fork --cookie=$1 --ready=$2 --then=stay";
constexpr size_t kMembers = 4;

unsigned Seed() {
  const char* given = getenv("TREEKILL_MATRIX_SEED");
  return given == nullptr ? 1 : static_cast<unsigned>(atoi(given));
}

int RoundsPerMoment() {
  const char* given = getenv("TREEKILL_MATRIX_ROUNDS");
  return given == nullptr ? 5 : atoi(given);
}

std::string NamesOf(Subset subset, const char* separator) {
  std::vector<std::string> names;
  for (int role = 0; role < kRoles; ++role) {
    if ((subset >> role & 1) != 0) names.push_back(kRoleNames[role]);
  }
  return absl::StrJoin(names, separator);
}

bool IsSame(const ProcessStat& a, const ProcessStat& b) {
  return a.pid == b.pid && a.start_time == b.start_time;
}

bool IsAlive(const ProcessStat& process) {
  std::optional<ProcessStat> now = kernel::ReadProcessStat(process.pid);
  return now.has_value() && IsSame(*now, process) && !now->IsDead();
}

// Everybody alive in the cgroup, but for this process.
std::vector<ProcessStat> ProcessesIn(const std::string& cgroup) {
  std::vector<ProcessStat> processes;
  std::istringstream pids(ReadAll(cgroup + "/cgroup.procs"));
  for (pid_t pid = 0; pids >> pid;) {
    if (pid == getpid()) continue;
    std::optional<ProcessStat> stat = kernel::ReadProcessStat(pid);
    if (stat.has_value() && !stat->IsDead()) processes.push_back(*stat);
  }
  return processes;
}

// Who has which role; only descendants of the round's caller.
using Cast = std::map<Role, ProcessStat>;

// Who is killed, and in how many rounds at each moment.
class GuardianMatrixTest
    : public CliTest,
      public testing::WithParamInterface<std::tuple<Subset, int>> {
 protected:
  static Subset subset() { return std::get<0>(GetParam()); }

  void SetUp() override {
    CliTest::SetUp();
    if (WhyNoCgroup().empty()) own_ = OwnCgroup();
  }

  // CliTest kills the guards of a failed round with the rest, and its rmdir may
  // come too early.
  void TearDown() override {
    CliTest::TearDown();
    if (!HasFailure() || own_.empty()) return;
    Eventually([this] {
      for (const std::string& leaf : Leaves()) rmdir(leaf.c_str());
      return WhatIsLeft().empty();
    });
  }

  void PlayRound(int round);
  void PrintSummary(int rounds);

 private:
  struct Target {
    Role role;
    ProcessStat process;
    kernel::UniqueFd pidfd;
  };

  void StartCaller();
  Cast Look() const;
  std::vector<std::string> Leaves() const;
  std::vector<ProcessStat> Members() const;
  std::string WhatIsLeft() const;

  void AwaitMoment(Moment moment);
  absl::Duration Random(absl::Duration low, absl::Duration high);
  std::optional<Target> Aim(Role role, const ProcessStat& process) const;
  Subset KillTogether(Subset subset);
  void KillAfterReplacement(Moment moment, Subset killed);
  void ExpectEnd(bool without_guards);
  void CollectGarbage();

  std::string own_;
  std::mt19937 random_;
  std::unique_ptr<Program> caller_;
  std::string ready_;
  std::vector<ProcessStat> guardians_;
  std::string killed_now_;
  // Of all rounds.
  int wanted_ = 0;
  int killed_ = 0;
  int needed_gc_ = 0;
};

// With its pid, since it may be killed before treekill has looked for it.
void GuardianMatrixTest::StartCaller() {
  std::string grace = absl::FormatDuration(kGrace);
  caller_ =
      Start({"/bin/sh", "-c", "\"$0\" run --die-with-parent=$$ \"$@\" & wait",
             TreekillPath(), "-k", grace, "--", "/bin/sh", "-c", kCommand,
             EscapeePath(), cookie(), ready_});
}

std::vector<std::string> GuardianMatrixTest::Leaves() const {
  std::vector<std::string> leaves;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(own_, error)) {
    if (absl::StartsWith(entry.path().filename().string(), "treekill-")) {
      leaves.push_back(entry.path());
    }
  }
  return leaves;
}

std::vector<ProcessStat> GuardianMatrixTest::Members() const {
  std::vector<ProcessStat> members;
  for (const std::string& leaf : Leaves()) {
    for (const ProcessStat& member : ProcessesIn(leaf)) {
      members.push_back(member);
    }
  }
  return members;
}

// By place, because before exec there are no names: the guardian is outside of
// the leaf. treekill adopts orphans, but those have sessions of their own.
Cast GuardianMatrixTest::Look() const {
  Cast cast;
  std::vector<ProcessStat> outside = ProcessesIn(own_);
  std::vector<ProcessStat> inside = Members();
  auto find = [](const std::vector<ProcessStat>& processes, auto is_it) {
    auto found = std::find_if(processes.begin(), processes.end(), is_it);
    return found == processes.end() ? std::nullopt : std::optional(*found);
  };
  std::optional<ProcessStat> caller = find(outside, [&](const auto& process) {
    return process.pid == caller_->pid();
  });
  if (!caller.has_value()) return cast;
  cast[kCaller] = *caller;
  std::optional<ProcessStat> treekill = find(outside, [&](const auto& process) {
    return process.parent == caller->pid;
  });
  if (!treekill.has_value()) return cast;
  cast[kTreekill] = *treekill;
  auto is_child = [&](const auto& process) {
    return process.parent == treekill->pid;
  };
  std::optional<ProcessStat> guardian = find(outside, is_child);
  if (guardian.has_value()) cast[kGuardian] = *guardian;
  std::optional<ProcessStat> leader = find(inside, [&](const auto& process) {
    return is_child(process) && process.session == treekill->session;
  });
  if (leader.has_value()) cast[kLeader] = *leader;
  return cast;
}

// The guardian overwrites its environment, and so may have no cookie.
std::string GuardianMatrixTest::WhatIsLeft() const {
  std::vector<std::string> left = Leaves();
  auto add = [&left](const std::vector<ProcessStat>& processes) {
    for (const ProcessStat& process : processes) {
      left.push_back(absl::StrCat(process.pid, " (", process.comm, ")"));
    }
  };
  add(ProcessesIn(own_));
  add(Members());
  for (const ProcessStat& guardian : guardians_) {
    if (IsAlive(guardian)) add({guardian});
  }
  // The slow way, when there seems to be nothing.
  if (left.empty()) {
    left = LeftLeaves();
    for (pid_t pid : FindByCookie(cookie())) left.push_back(absl::StrCat(pid));
  }
  return absl::StrJoin(left, ", ");
}

absl::Duration GuardianMatrixTest::Random(absl::Duration low,
                                          absl::Duration high) {
  return low +
         (high - low) * std::uniform_real_distribution<double>(0, 1)(random_);
}

void GuardianMatrixTest::AwaitMoment(Moment moment) {
  if (moment == kBeforeExec) {
    absl::SleepFor(Random(absl::ZeroDuration(), absl::Milliseconds(4)));
    return;
  }
  ASSERT_TRUE(Eventually([this] { return fs::exists(ready_); }));
  ASSERT_EQ(Members().size(), kMembers);
  if (moment == kRunning) {
    absl::SleepFor(Random(absl::ZeroDuration(), absl::Milliseconds(20)));
    return;
  }
  Cast cast = Look();
  ASSERT_EQ(cast.count(kTreekill), 1U);
  std::optional<Target> treekill = Aim(kTreekill, cast[kTreekill]);
  ASSERT_TRUE(treekill.has_value());
  absl::Duration begin = kernel::MonotonicNow();
  ASSERT_TRUE(
      kernel::SendSignal(treekill->pidfd.get(), treekill->process.pid, SIGTERM)
          .ok());
  ASSERT_TRUE(Eventually([this] { return Members().size() < kMembers; }));
  absl::Duration end = begin + kGrace;
  absl::Duration when = Random(kernel::MonotonicNow(), end);
  if (moment == kDraining) {
    when = end + Random(absl::Milliseconds(-2), absl::Milliseconds(4));
  }
  absl::SleepFor(when - kernel::MonotonicNow());
}

// A pidfd is of this process, whoever has the number later: nullopt if it has
// ended before that was sure.
std::optional<GuardianMatrixTest::Target> GuardianMatrixTest::Aim(
    Role role, const ProcessStat& process) const {
  absl::StatusOr<kernel::UniqueFd> pidfd = kernel::OpenPidfd(process.pid);
  if (!pidfd.ok()) return std::nullopt;
  std::optional<ProcessStat> now = kernel::ReadProcessStat(process.pid);
  if (!now.has_value() || !IsSame(*now, process) ||
      now->parent != process.parent) {
    return std::nullopt;
  }
  return Target{role, process, *std::move(pidfd)};
}

// Returns who was there to be killed.
Subset GuardianMatrixTest::KillTogether(Subset subset) {
  std::vector<Target> targets;
  for (const auto& [role, process] : Look()) {
    if (role == kGuardian) guardians_.push_back(process);
    if ((subset & Bit(role)) == 0) continue;
    std::optional<Target> target = Aim(role, process);
    if (target.has_value()) targets.push_back(*std::move(target));
  }
  std::shuffle(targets.begin(), targets.end(), random_);
  Subset killed = 0;
  for (const Target& target : targets) {
    EXPECT_TRUE(
        kernel::SendSignal(target.pidfd.get(), target.process.pid, SIGKILL)
            .ok());
    killed |= Bit(target.role);
    absl::StrAppend(&killed_now_, killed_now_.empty() ? "" : ", ",
                    kRoleNames[target.role]);
  }
  return killed;
}

// The tree has outlived its guardian, if that was there, and gets another one.
void GuardianMatrixTest::KillAfterReplacement(Moment moment, Subset killed) {
  bool may_end = MayBeEnding(moment);
  if (!may_end) {
    ASSERT_TRUE(Eventually([this] { return fs::exists(ready_); }));
  }
  bool replaced = (killed & Bit(kGuardian)) != 0;
  Cast cast;
  EXPECT_TRUE(Eventually([&] {
    cast = Look();
    if (may_end && cast.count(kTreekill) == 0) return true;
    return cast.count(kGuardian) == 1 &&
           !(replaced && IsSame(cast[kGuardian], guardians_.back()));
  })) << "there is no guardian again";
  if (!may_end) {
    EXPECT_EQ(cast.count(kTreekill), 1U);
    EXPECT_EQ(cast.count(kLeader), 1U);
    EXPECT_EQ(Members().size(), kMembers);
  }
  KillTogether(Bit(kTreekill));
}

void GuardianMatrixTest::CollectGarbage() {
  ++needed_gc_;
  Outcome gc = RunProgram({TreekillPath(), "gc", own_});
  EXPECT_EQ(gc.exit_code(), 0) << gc.output << gc.errors;
  EXPECT_EQ(WhatIsLeft(), "") << "after gc: " << gc.output;
}

void GuardianMatrixTest::ExpectEnd(bool without_guards) {
  bool collected = false;
  EXPECT_TRUE(Eventually([&] {
    if (without_guards && !collected && ProcessesIn(own_).empty() &&
        !Leaves().empty()) {
      // Whoever would have removed the leaf is gone.
      collected = true;
      CollectGarbage();
    }
    return WhatIsLeft().empty();
  })) << WhatIsLeft();
}

void GuardianMatrixTest::PlayRound(int round) {
  Subset subset = this->subset();
  Moment moment = static_cast<Moment>(round % kMoments);
  random_.seed(Seed() + 1000 * subset + round);
  ready_ = File(absl::StrCat("ready-", round));
  guardians_.clear();
  killed_now_.clear();
  StartCaller();
  AwaitMoment(moment);
  if (HasFatalFailure()) return;
  Subset killed = KillTogether(subset);
  wanted_ += std::popcount(subset);
  killed_ += std::popcount(killed);
  SCOPED_TRACE(absl::StrCat("killed in this order: ", killed_now_));
  if ((killed & kVital) == 0) KillAfterReplacement(moment, killed);
  ExpectEnd((killed & kGuards) == kGuards);
  caller_.reset();
}

void GuardianMatrixTest::PrintSummary(int rounds) {
  std::string text = absl::StrFormat(
      "{%s}: gc was needed in %d of %d rounds; %d of %d victims were there; "
      "seed %u",
      NamesOf(subset(), ", "), needed_gc_, rounds, killed_, wanted_, Seed());
  printf("[  matrix  ] %s\n", text.c_str());
  RecordProperty("gc_needed", needed_gc_);
}

TEST_P(GuardianMatrixTest, LeavesNobody) {
  int round = 0;
  const int rounds = std::get<1>(GetParam()) * kMoments;
  while (round < rounds && !HasFailure()) {
    SCOPED_TRACE(absl::StrCat("seed ", Seed(), ", round ", round, ", ",
                              kMomentNames[round % kMoments]));
    PlayRound(round++);
  }
  PrintSummary(round);
}

std::string NameOf(
    const testing::TestParamInfo<GuardianMatrixTest::ParamType>& info) {
  std::string name = NamesOf(std::get<0>(info.param), " ");
  for (size_t i = 0; i < name.size(); ++i) {
    if (i == 0 || name[i - 1] == ' ') name[i] = absl::ascii_toupper(name[i]);
  }
  std::erase(name, ' ');
  return name;
}

const auto kSubsets = testing::Range(Subset{1}, Subset{1} << kRoles);

INSTANTIATE_TEST_SUITE_P(Once, GuardianMatrixTest,
                         testing::Combine(kSubsets, testing::Values(1)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Thorough, GuardianMatrixTest,
                         testing::Combine(kSubsets,
                                          testing::Values(RoundsPerMoment())),
                         NameOf);

}  // namespace
}  // namespace treekill::rig
