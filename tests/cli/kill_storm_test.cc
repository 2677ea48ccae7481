// `treekill kill` against trees that fork all the time.
#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using ::testing::IsEmpty;

// Under a sanitizer each takes many seconds.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kIsSlow = true;
#else
constexpr bool kIsSlow = false;
#endif

class KillStormTest : public CliTest {
 protected:
  // Chains of processes of which each forks the next one and ends, half of them
  // in sessions of their own; all orphans stay in the tree.
  void EndForkBombs(int rounds, Arguments how) {
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE(round);
      std::unique_ptr<Program> bomb =
          Start({EscapeePath(), "fork-bomb", "--cookie=" + cookie(),
                 "--ready=" + File("ready"), "--then=stay"});
      ASSERT_TRUE(Eventually([&] { return !Read("ready").empty(); }));
      Arguments argv = {TreekillPath(), "kill",
                        absl::StrCat("--pid=", bomb->pid())};
      argv.insert(argv.end(), how.begin(), how.end());
      Outcome outcome = Start(argv)->Wait();
      EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
      ASSERT_THAT(FindByCookie(cookie()), IsEmpty());
      bomb->Wait();
      unlink(File("ready").c_str());
    }
  }
};

TEST_F(KillStormTest, AForkBombIsKilled) {
  EndForkBombs(kIsSlow ? 3 : 25, {"-9"});
}

// It does not mind TERM, and goes on when it is continued.
TEST_F(KillStormTest, AForkBombThatIsDeafToTheFirstSignalIsKilled) {
  EndForkBombs(kIsSlow ? 2 : 5, {"-s", "WINCH", "-k", "0.1"});
}

}  // namespace
}  // namespace treekill::rig
