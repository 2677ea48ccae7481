// Every way that processes have of getting away from their parents, at the
// command's exit, at a timeout and at TERM to treekill: when treekill returns,
// no process of it is alive and the leaf is gone. One tree has all of them for
// each way of holding and of ending. Each is tried alone once, and in all ways
// by the thorough tests.
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/cli/escapes.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/cgroup.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;

using ::testing::AnyOfArray;
using ::testing::IsEmpty;

// How they are held.
struct Holding {
  const char* name;
  const char* option;
  // See treekill_with_faults.
  const char* faults;
};

constexpr Holding kHoldings[] = {
    {"", "--containment=auto", ""},
    {"InASubreaper", "--containment=subreaper", ""},
    {"WithoutCgroupKill", "--require=cgroup", "open@cgroup.kill:ENOENT"}};

// As a shell has it; TERM is treekill's own end as well.
void ExpectEnding(const Outcome& outcome, const Escapes& escapes,
                  Ending ending) {
  int signal = outcome.signal();
  EXPECT_THAT(signal == 0 ? outcome.exit_code() : 128 + signal,
              AnyOfArray(StatusesOf(escapes, ending)));
  if (ending != Ending::kTerm || NeedKill(escapes)) return;
  EXPECT_EQ(outcome.exit_code(), escapes[0].exit_code_at_term);
}

using EscapeParameter = std::tuple<Escapes, Holding, Ending>;

class EscapeTest : public CliTest,
                   public testing::WithParamInterface<EscapeParameter> {
 protected:
  // What a command has made below our cgroup, a subreaper does not remove.
  void TearDown() override {
    if (!IsSkipped()) {
      absl::StatusOr<kernel::Cgroup> own = kernel::Cgroup::Open(OwnCgroup());
      ASSERT_TRUE(own.ok()) << own.status();
      for (const char* name : {"frozen", "a", "locked"}) {
        EXPECT_TRUE(Eventually([&] { return own->RemoveChild(name).ok(); }));
      }
    }
    CliTest::TearDown();
  }

  Outcome Run(const Escapes& escapes, const Holding& holding, Ending ending) {
    Escapee escapee{EscapeePath(), cookie(), ready()};
    std::map<std::string, std::string> variables = environment();
    bool faulty = holding.faults[0] != '\0';
    if (faulty) variables["TREEKILL_FAULTS"] = holding.faults;
    return RunToEnding(
        RunEscapee(faulty ? TreekillWithFaultsPath() : TreekillFor(ending),
                   {holding.option}, escapee, escapes, ending),
        variables, ready(), ending);
  }

  std::string ready() const { return File("ready"); }
};

TEST_P(EscapeTest, LeavesNobody) {
  const auto& [escapes, holding, ending] = GetParam();
  Outcome outcome = Run(escapes, holding, ending);
  // At once: what is said to be dead must be dead.
  EXPECT_THAT(SurvivorsOf(cookie()), IsEmpty());
  EXPECT_THAT(LeftLeaves(), IsEmpty());
  // The members had really got away.
  EXPECT_TRUE(fs::exists(ready())) << outcome.errors;
  EXPECT_EQ(outcome.errors, "");
  ExpectEnding(outcome, escapes, ending);
}

std::string NameOf(const testing::TestParamInfo<EscapeParameter>& info) {
  const auto& [escapes, holding, ending] = info.param;
  std::string who = escapes.size() > 1 ? "All" : CamelCase(escapes[0].mode);
  return absl::StrCat(who, holding.name, EndingName(ending));
}

INSTANTIATE_TEST_SUITE_P(Crew, EscapeTest,
                         testing::Combine(testing::Values(EveryEscape()),
                                          testing::ValuesIn(kHoldings),
                                          testing::ValuesIn(kEndings)),
                         NameOf);

std::vector<Escapes> EachOf(const Escapes& escapes) {
  std::vector<Escapes> each;
  for (const Escape& escape : escapes) each.push_back({escape});
  return each;
}

Escapes LightEscapes() { return {std::begin(kEscapes), std::end(kEscapes)}; }

// So that a fault names one escape. Those that are about TERM get it.
std::vector<EscapeParameter> EachOnce() {
  std::vector<EscapeParameter> all;
  for (const Escapes& one : EachOf(EveryEscape())) {
    bool by_term = absl::StrContains(one[0].mode, "term");
    all.emplace_back(one, kHoldings[0],
                     by_term ? Ending::kTerm : Ending::kExit);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Each, EscapeTest, testing::ValuesIn(EachOnce()),
                         NameOf);

INSTANTIATE_TEST_SUITE_P(
    Thorough, EscapeTest,
    testing::Combine(testing::ValuesIn(EachOf(LightEscapes())),
                     testing::ValuesIn(kHoldings), testing::ValuesIn(kEndings)),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    ThoroughAlone, EscapeTest,
    testing::Combine(testing::ValuesIn(EachOf(HeavyEscapes(200, 2000))),
                     testing::ValuesIn(kHoldings), testing::ValuesIn(kEndings)),
    NameOf);

// An ordinary user who has been given a cgroup, as by systemd's delegation:
// kill(2) on a setuid-root member would be EPERM.
class OrdinaryUserTest : public CliTest {
 protected:
  static constexpr uid_t kNobody = 65534;
  static inline const Escapes kSetuid = {{"setuid", 0, -1, true}};

  void SetUp() override {
    CliTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
    LetOthersIn();
    CopyOf(EscapeePath());
    CopyOf(EscapeePath(), 04755, "helper");
    delegated_ = absl::StrCat(OwnCgroup(), "/tk-delegated-", getpid());
    ASSERT_EQ(mkdir(delegated_.c_str(), 0755), 0);
    for (const char* file :
         {"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"}) {
      ASSERT_EQ(chown((delegated_ + file).c_str(), kNobody, kNobody), 0);
    }
  }

  void TearDown() override {
    CliTest::TearDown();
    if (delegated_.empty()) return;
    EXPECT_EQ(rmdir(delegated_.c_str()), 0);
  }

  std::string helper() const { return File("helper"); }

  // As nobody, in the delegated cgroup.
  Outcome RunTo(Ending ending) {
    std::string procs = delegated_ + "/cgroup.procs";
    auto enter = [procs] {
      FILE* file = fopen(procs.c_str(), "w");
      if (file == nullptr || fputs("0", file) < 0 || fclose(file) != 0 ||
          setgid(kNobody) != 0 || setuid(kNobody) != 0) {
        _exit(98);
      }
    };
    std::map<std::string, std::string> variables = environment();
    variables["ESCAPEE_SETUID_HELPER"] = helper();
    Escapee escapee{File("escapee"), cookie(), ready()};
    return RunToEnding(
        RunEscapee(CopyOf(TreekillFor(ending)), {}, escapee, kSetuid, ending),
        variables, ready(), ending, enter);
  }

  // Without cgroup.kill (before Linux 5.14) it is a survivor, and said to be.
  bool IsBeyondReach(const Outcome& outcome) {
    if (access((OwnCgroup() + "/cgroup.kill").c_str(), F_OK) == 0) return false;
    EXPECT_EQ(outcome.exit_code(), 122);
    EXPECT_THAT(outcome.errors, testing::HasSubstr("survives SIGKILL"));
    KillByCookie(cookie());
    EXPECT_TRUE(Eventually([] {
      for (const std::string& leaf : LeftLeaves()) rmdir(leaf.c_str());
      return LeftLeaves().empty();
    }));
    return true;
  }

  void ExpectNobody(const Outcome& outcome, Ending ending) {
    ExpectEnding(outcome, kSetuid, ending);
    EXPECT_THAT(SurvivorsOf(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
    EXPECT_TRUE(fs::exists(ready())) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
  }

  std::string ready() const { return File("ready"); }

 private:
  std::string delegated_;
};

TEST_F(OrdinaryUserTest, KillsSetuidRootMembersAtExit) {
  Outcome outcome = RunTo(Ending::kExit);
  if (IsBeyondReach(outcome)) return;
  ExpectNobody(outcome, Ending::kExit);
}

TEST_F(OrdinaryUserTest, KillsSetuidRootMembersAtTimeout) {
  Outcome outcome = RunTo(Ending::kTimeout);
  if (IsBeyondReach(outcome)) return;
  ExpectNobody(outcome, Ending::kTimeout);
}

TEST_F(OrdinaryUserTest, KillsSetuidRootMembersAtTerm) {
  Outcome outcome = RunTo(Ending::kTerm);
  if (IsBeyondReach(outcome)) return;
  ExpectNobody(outcome, Ending::kTerm);
}

}  // namespace
}  // namespace treekill::rig
