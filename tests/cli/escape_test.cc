// Every way that processes have of getting away from those who started them,
// each at the command's exit, at a timeout and at TERM to treekill: when
// treekill returns, nobody is alive and the leaf is gone.
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/cli/escapes.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/cgroup.h"

namespace treekill::rig {
namespace {

namespace fs = std::filesystem;

// How they are held.
struct Holding {
  const char* name;
  const char* option;
  // See treekill_with_faults.
  const char* faults;
};

constexpr Holding kAuto = {"", "--containment=auto", ""};
constexpr Holding kOtherwise[] = {
    {"InASubreaper", "--containment=subreaper", ""},
    {"WithoutCgroupKill", "--require=cgroup", "open@cgroup.kill:ENOENT"}};

using EscapeParameter = std::tuple<Escape, Holding, Ending>;

class EscapeTest : public CliTest,
                   public testing::WithParamInterface<EscapeParameter> {
 protected:
  // What a command has made below our cgroup, a subreaper does not remove.
  void TearDown() override {
    if (!IsSkipped()) {
      absl::StatusOr<kernel::Cgroup> own = kernel::Cgroup::Open(OwnCgroup());
      ASSERT_TRUE(own.ok()) << own.status();
      for (const char* name : {"frozen", "a"}) {
        EXPECT_TRUE(Eventually([&] { return own->RemoveChild(name).ok(); }));
      }
    }
    CliTest::TearDown();
  }

  Outcome Run(const Escape& escape, const Holding& holding, Ending ending) {
    Escapee escapee{EscapeePath(), cookie(), ready()};
    std::map<std::string, std::string> variables = environment();
    bool faulty = holding.faults[0] != '\0';
    if (faulty) variables["TREEKILL_FAULTS"] = holding.faults;
    return RunToEnding(
        RunEscapee(faulty ? TreekillWithFaultsPath() : TreekillPath(),
                   {holding.option}, escapee, escape, ending),
        variables, ready(), ending);
  }

  std::string ready() const { return File("ready"); }
};

TEST_P(EscapeTest, LeavesNobody) {
  const auto& [escape, holding, ending] = GetParam();
  Outcome outcome = Run(escape, holding, ending);
  // At once: what is said to be dead must be dead.
  std::vector<pid_t> survivors = FindByCookie(cookie());
  EXPECT_TRUE(survivors.empty()) << absl::StrJoin(survivors, " ");
  EXPECT_TRUE(LeftLeaves().empty()) << absl::StrJoin(LeftLeaves(), " ");
  // The members had really got away.
  EXPECT_TRUE(fs::exists(ready())) << outcome.errors;
  EXPECT_EQ(outcome.errors, "");
  switch (ending) {
    case Ending::kExit:
      EXPECT_EQ(outcome.exit_code(), 0);
      break;
    case Ending::kTimeout:
      EXPECT_EQ(outcome.exit_code(), 124);
      break;
    case Ending::kTerm:
      EXPECT_EQ(outcome.exit_code(), escape.exit_code_at_term);
      EXPECT_EQ(outcome.signal(), escape.exit_code_at_term < 0 ? SIGTERM : 0);
      break;
  }
}

std::string NameOf(const testing::TestParamInfo<EscapeParameter>& info) {
  const auto& [escape, holding, ending] = info.param;
  return absl::StrCat(CamelCase(escape.mode), holding.name, EndingName(ending));
}

constexpr Ending kEndings[] = {Ending::kExit, Ending::kTimeout, Ending::kTerm};

INSTANTIATE_TEST_SUITE_P(All, EscapeTest,
                         testing::Combine(testing::ValuesIn(kEscapes),
                                          testing::Values(kAuto),
                                          testing::ValuesIn(kEndings)),
                         NameOf);

// With fewer of those that take time.
std::vector<Escape> SmallerEscapes() {
  std::vector<Escape> escapes(std::begin(kEscapes), std::end(kEscapes));
  for (Escape& escape : escapes) escape.count /= 4;
  return escapes;
}

INSTANTIATE_TEST_SUITE_P(Held, EscapeTest,
                         testing::Combine(testing::ValuesIn(SmallerEscapes()),
                                          testing::ValuesIn(kOtherwise),
                                          testing::ValuesIn(kEndings)),
                         NameOf);

// An ordinary user who has been given a cgroup, as by systemd's delegation:
// kill(2) on a setuid-root member would be EPERM.
class OrdinaryUserTest : public CliTest {
 protected:
  static constexpr uid_t kNobody = 65534;

  void SetUp() override {
    CliTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
    LetOthersIn();
    CopyOf(TreekillPath());
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
  std::unique_ptr<Program> Start(const std::string& then,
                                 const std::string& timeout) {
    std::string procs = delegated_ + "/cgroup.procs";
    auto enter = [procs] {
      FILE* file = fopen(procs.c_str(), "w");
      if (file == nullptr || fputs("0", file) < 0 || fclose(file) != 0 ||
          setgid(kNobody) != 0 || setuid(kNobody) != 0) {
        _exit(98);
      }
    };
    std::vector<std::string> argv = {File("treekill"),
                                     "run",
                                     "-k",
                                     "300ms",
                                     "--timeout",
                                     timeout,
                                     File("escapee"),
                                     "setuid",
                                     "--cookie=" + cookie(),
                                     "--ready=" + ready(),
                                     "--then=" + then};
    std::map<std::string, std::string> variables = environment();
    variables["ESCAPEE_SETUID_HELPER"] = helper();
    return std::make_unique<Program>(argv, variables, enter);
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

  void ExpectNobody(const Outcome& outcome) {
    std::vector<pid_t> survivors = FindByCookie(cookie());
    EXPECT_TRUE(survivors.empty()) << absl::StrJoin(survivors, " ");
    EXPECT_TRUE(LeftLeaves().empty()) << absl::StrJoin(LeftLeaves(), " ");
    EXPECT_TRUE(fs::exists(ready())) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
  }

  std::string ready() const { return File("ready"); }

 private:
  std::string delegated_;
};

TEST_F(OrdinaryUserTest, KillsSetuidRootMembersAtExit) {
  Outcome outcome = Start("exit", "inf")->Wait();
  if (IsBeyondReach(outcome)) return;
  EXPECT_EQ(outcome.exit_code(), 0);
  ExpectNobody(outcome);
}

TEST_F(OrdinaryUserTest, KillsSetuidRootMembersAtTimeout) {
  Outcome outcome = Start("stay", "2s")->Wait();
  if (IsBeyondReach(outcome)) return;
  EXPECT_EQ(outcome.exit_code(), 124);
  ExpectNobody(outcome);
}

TEST_F(OrdinaryUserTest, KillsSetuidRootMembersAtTerm) {
  std::unique_ptr<Program> program = Start("stay", "inf");
  EXPECT_TRUE(Eventually([&] { return fs::exists(ready()); }));
  program->Signal(SIGTERM);
  Outcome outcome = program->Wait();
  if (IsBeyondReach(outcome)) return;
  EXPECT_EQ(outcome.signal(), SIGTERM);
  ExpectNobody(outcome);
}

}  // namespace
}  // namespace treekill::rig
