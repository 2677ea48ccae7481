// `treekill kill` against trees that fork all the time.
#include <string>

#include "tests/cli/fork_bomb.h"

namespace treekill::rig {
namespace {

using ::testing::IsEmpty;

class KillStormTest : public CliTest {
 protected:
  // All orphans of the bomb stay in the tree.
  void EndForkBombs(int rounds, int lineages, const Arguments& how) {
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE(round);
      std::unique_ptr<Program> bomb =
          Start(ForkBomb(lineages, cookie(), File("ready")));
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

const Arguments kAtOnce = {"-9"};
// It does not mind the first signal, and goes on when it is continued.
const Arguments kWithGrace = {"-s", "WINCH", "-k", "0.1"};

TEST_F(KillStormTest, AForkBombIsKilled) { EndForkBombs(1, 8, kAtOnce); }

TEST_F(KillStormTest, AForkBombThatIsDeafToTheFirstSignalIsKilled) {
  EndForkBombs(1, 8, kWithGrace);
}

using ThoroughKillStormAloneTest = KillStormTest;

TEST_F(ThoroughKillStormAloneTest, AForkBombIsKilled) {
  EndForkBombs(25, 32, kAtOnce);
}

TEST_F(ThoroughKillStormAloneTest, OneThatIsDeafToTheFirstSignalIsKilled) {
  EndForkBombs(5, 32, kWithGrace);
}

}  // namespace
}  // namespace treekill::rig
