// Who reads what treekill says, and does not, keeps nothing alive.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/cli/death_fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;

class SlowReaderTest : public DeathTest {
 protected:
  // A pipe that is full, or nearly so.
  SlowReaderTest() {
    EXPECT_EQ(pipe2(ends_, O_CLOEXEC | O_NONBLOCK), 0);
    std::string page(4096, 'x');
    while (write(ends_[1], page.data(), page.size()) > 0) {
    }
    fcntl(ends_[1], F_SETFL, 0);
  }
  ~SlowReaderTest() override {
    close(ends_[0]);
    close(ends_[1]);
  }

  std::function<void()> To(int fd) const {
    return [this, fd] { dup2(ends_[1], fd); };
  }

  // Waits until nobody of the run is alive, after it has made "up", but
  // treekill itself, which has something to say.
  bool EndsButForTreekill(const Program& program) {
    pid_t leader = PidIn("up");
    return Eventually([&] {
      // The leader, too: who is in an exec has no environment to be found by.
      return FindByCookie(cookie()) == std::vector<pid_t>{program.pid()} &&
             StateOf(leader) == '-' && SleepsIn(program.pid(), "poll");
    });
  }

  std::string Up(const std::string& script) const {
    return absl::StrCat("echo $$ >'", File("up"), "'; ", script);
  }

  std::string ReadAllOfIt() {
    std::string text(1 << 20, '\0');
    ssize_t size = read(ends_[0], text.data(), text.size());
    text.resize(std::max<ssize_t>(size, 0));
    return text;
  }

 private:
  int ends_[2] = {-1, -1};
};

TEST_F(SlowReaderTest, OfMessagesDoesNotHoldUpATimeout) {
  Set("TREEKILL_LIMITS", "message:100ms");
  std::unique_ptr<Program> program =
      StartLeaping({"-v", "--timeout=1h", "sh", "-c", Up("exec sleep 600")},
                   To(STDERR_FILENO));
  PidIn("up");
  Leap();
  EXPECT_TRUE(EndsButForTreekill(*program));
  program->Signal(SIGTERM);
  EXPECT_EQ(program->Wait().exit_code(), 124);
}

TEST_F(SlowReaderTest, OfMessagesDoesNotHoldUpASignal) {
  Set("TREEKILL_LIMITS", "message:100ms last-message:100ms");
  std::unique_ptr<Program> program =
      StartLeaping({"-v", "sh", "-c", Up("exec sleep 600")}, To(STDERR_FILENO));
  EXPECT_TRUE(Comes("up"));
  program->Signal(SIGTERM);
  // Once is enough.
  EXPECT_EQ(program->Wait().signal(), SIGTERM);
}

// The command fills the pipe as fast as room is made.
TEST_F(SlowReaderTest, OfTheCommandsErrorsAsWell) {
  ReadAllOfIt();
  std::unique_ptr<Program> program =
      StartRun({"--on-leak=warn", "sh", "-c", Up("setsid yes >&2 & sleep 0.3")},
               To(STDERR_FILENO));
  EXPECT_TRUE(EndsButForTreekill(*program));
  program->Signal(SIGTERM);
  EXPECT_EQ(program->Wait().exit_code(), 0);
}

TEST_F(SlowReaderTest, OfTheReportCanBeGivenUp) {
  std::unique_ptr<Program> program =
      StartRun({"--report=fd:3", "sh", "-c", Up("")}, To(3));
  EXPECT_TRUE(EndsButForTreekill(*program));
  program->Signal(SIGTERM);
  Outcome outcome = program->Wait();
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_EQ(outcome.errors,
            "treekill: cannot write the report to 'fd:3': nobody has read all "
            "of it\n");
}

TEST_F(SlowReaderTest, GetsWhatIsSaidAtTheEnd) {
  std::unique_ptr<Program> program =
      StartRun({"-v", "sh", "-c", Up("")}, To(STDERR_FILENO));
  EXPECT_TRUE(EndsButForTreekill(*program));
  ReadAllOfIt();
  EXPECT_EQ(program->Wait().exit_code(), 0);
  EXPECT_THAT(ReadAllOfIt(), HasSubstr("treekill: ended by exit"));
}

}  // namespace
}  // namespace treekill::rig
