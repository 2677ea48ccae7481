// --die-with-parent and --lifeline: what treekill depends on goes, and the tree
// with it.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <csignal>
#include <string>

#include "tests/cli/death_fixture.h"
#include "treekill/kernel/fd.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Where treekill finds its lifeline.
constexpr int kLifeline = 9;

class LifelineTest : public DeathTest {
 protected:
  void SetUp() override {
    DeathTest::SetUp();
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    near_.reset(fds[0]);
    far_.reset(fds[1]);
  }

  // Treekill with `fd` as its lifeline, which is not inherited otherwise.
  std::unique_ptr<Program> StartOn(const kernel::UniqueFd& fd,
                                   const std::string& script,
                                   Arguments options = {}) {
    options.push_back(absl::StrCat("--lifeline=", kLifeline));
    return StartScript(script, options, [&fd] { dup2(fd.get(), kLifeline); });
  }

  // Waits until treekill has done what there was to do.
  static bool Rests(const Program& program) {
    return Eventually([&] { return SleepsIn(program.pid(), "poll"); });
  }

  void ExpectEndByLifeline(Program& program) {
    Outcome outcome = program.Wait();
    EXPECT_EQ(outcome.signal(), SIGTERM);
    EXPECT_EQ(outcome.errors, "");
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
  }

  // `reason` stands in the one line.
  void ExpectRefused(const std::string& option, const std::string& reason,
                     std::function<void()> prepare = nullptr) {
    SCOPED_TRACE(option);
    Outcome outcome =
        StartRun({option, "--", "touch", File("made")}, prepare)->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_THAT(outcome.errors, HasSubstr(reason));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1);
    EXPECT_FALSE(Exists("made"));
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
  }

  // Of a pipe.
  kernel::UniqueFd near_;
  kernel::UniqueFd far_;
};

TEST_F(LifelineTest, PipeWhoseWriterCloses) {
  std::unique_ptr<Program> program = StartOn(
      near_, "setsid sleep 600 &\ntouch ready; sleep 600", {ReportOption()});
  EXPECT_TRUE(Rests(*program));
  far_.reset();
  ExpectEndByLifeline(*program);
  EXPECT_EQ(Report()["reason"], "lifeline");
  EXPECT_EQ(Report()["first_signal"], "TERM");
  EXPECT_EQ(Report()["killed"], false);
}

TEST_F(LifelineTest, PipeWhoseWriterIsKilled) {
  std::unique_ptr<Program> writer =
      Start({"sleep", "600"}, [this] { dup2(far_.get(), 50); });
  far_.reset();
  std::unique_ptr<Program> program = StartOn(near_, "touch ready; sleep 600");
  writer->Signal(SIGKILL);
  EXPECT_EQ(writer->Wait().signal(), SIGKILL);
  ExpectEndByLifeline(*program);
}

TEST_F(LifelineTest, PipeWhoseReaderCloses) {
  std::unique_ptr<Program> program = StartOn(far_, "touch ready; sleep 600");
  near_.reset();
  ExpectEndByLifeline(*program);
}

TEST_F(LifelineTest, Socket) {
  for (int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    kernel::UniqueFd ours(fds[0]);
    kernel::UniqueFd theirs(fds[1]);
    unlink(File("ready").c_str());
    std::unique_ptr<Program> program =
        StartOn(theirs, "touch ready; sleep 600");
    ours.reset();
    ExpectEndByLifeline(*program);
  }
}

TEST_F(LifelineTest, Fifo) {
  ASSERT_EQ(mkfifo(File("fifo").c_str(), 0600), 0);
  kernel::UniqueFd reader(
      open(File("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  kernel::UniqueFd writer(open(File("fifo").c_str(), O_WRONLY | O_CLOEXEC));
  std::unique_ptr<Program> program = StartOn(reader, "touch ready; sleep 600");
  writer.reset();
  ExpectEndByLifeline(*program);
}

TEST_F(LifelineTest, DataDoesNotEndIt) {
  ASSERT_EQ(write(far_.get(), "before", 6), 6);
  std::unique_ptr<Program> program = StartOn(near_, kUntilDone);
  ASSERT_EQ(write(far_.get(), "after", 5), 5);
  EXPECT_TRUE(Rests(*program));
  WriteAll(File("done"), "");
  EXPECT_EQ(program->Wait().exit_code(), 7);
}

TEST_F(LifelineTest, UnreadDataDoesNotHideTheEnd) {
  std::unique_ptr<Program> program = StartOn(near_, "touch ready; sleep 600");
  ASSERT_EQ(write(far_.get(), "x", 1), 1);
  far_.reset();
  ExpectEndByLifeline(*program);
}

TEST_F(LifelineTest, GraceAndThenKill) {
  std::unique_ptr<Program> program =
      StartOn(near_, kHardToKill, {ReportOption(), "-k", "50ms"});
  far_.reset();
  program->Wait();
  ExpectAllGone(0);
  EXPECT_EQ(Report()["reason"], "lifeline");
  EXPECT_EQ(Report()["killed"], true);
}

TEST_F(LifelineTest, MemberUsesItsGrace) {
  std::unique_ptr<Program> program =
      StartOn(near_, kSlowMember, {"-k", "120s"});
  far_.reset();
  ASSERT_TRUE(Comes("term"));
  WriteAll(File("go"), "");
  ExpectEndByLifeline(*program);
  EXPECT_TRUE(Exists("late"));
}

TEST_F(LifelineTest, WithATimeout) {
  std::unique_ptr<Program> program =
      StartOn(near_, "touch ready; sleep 600",
              {ReportOption(), "--timeout=600", "-s", "INT"});
  far_.reset();
  ExpectEndByLifeline(*program);
  EXPECT_EQ(Report()["reason"], "lifeline");
  SetUp();
  unlink(File("ready").c_str());
  program = StartOn(near_, "touch ready; sleep 600",
                    {ReportOption(), "--timeout=500ms"});
  EXPECT_EQ(program->Wait().exit_code(), 124);
  EXPECT_EQ(Report()["reason"], "timeout");
}

TEST_F(LifelineTest, CommandThatEndsFirst) {
  std::unique_ptr<Program> program =
      StartOn(near_, kUntilDone, {ReportOption()});
  WriteAll(File("done"), "");
  EXPECT_EQ(program->Wait().exit_code(), 7);
  EXPECT_EQ(Report()["reason"], "exit");
}

// It would keep the other side from seeing the end of treekill.
TEST_F(LifelineTest, CommandDoesNotGetIt) {
  std::unique_ptr<Program> program =
      StartOn(near_, "touch ready; [ ! -e /proc/self/fd/9 ] && exit 7; exit 8");
  EXPECT_EQ(program->Wait().exit_code(), 7);
}

TEST_F(LifelineTest, StandardInputStaysTheCommands) {
  std::unique_ptr<Program> program =
      StartScript("touch ready; read word; echo $word >got; sleep 600",
                  {ReportOption(), "--lifeline=0"},
                  [this] { dup2(near_.get(), STDIN_FILENO); });
  near_.reset();
  ASSERT_EQ(write(far_.get(), "word\n", 5), 5);
  EXPECT_TRUE(Eventually([&] { return Read("got") == "word\n"; }));
  EXPECT_TRUE(Rests(*program));
  far_.reset();
  ExpectEndByLifeline(*program);
  EXPECT_EQ(Report()["reason"], "lifeline");
}

TEST_F(LifelineTest, KilledTreekill) {
  std::unique_ptr<Program> program = StartOn(near_, kHardToKill);
  pid_t guardian = GuardianOf(program->pid());
  program->Signal(SIGKILL);
  program->Wait();
  ExpectAllGone(guardian);
}

TEST_F(LifelineTest, KilledTreekillAndClosedLifelineAtATime) {
  std::unique_ptr<Program> program =
      StartOn(near_, kHardToKill, {"-k", "50ms"});
  pid_t guardian = GuardianOf(program->pid());
  far_.reset();
  program->Signal(SIGKILL);
  program->Wait();
  ExpectAllGone(guardian);
}

TEST_F(LifelineTest, ClosedBeforeTheStart) {
  far_.reset();
  ExpectRefused("--lifeline=9", "is closed already",
                [this] { dup2(near_.get(), kLifeline); });
}

TEST_F(LifelineTest, OtherEndThatTreekillHas) {
  ExpectRefused("--lifeline=9", "treekill has the other end open itself",
                [this] {
                  dup2(near_.get(), kLifeline);
                  dup2(far_.get(), 33);
                });
  ASSERT_EQ(mkfifo(File("fifo").c_str(), 0600), 0);
  std::string fifo = File("fifo");
  ExpectRefused("--lifeline=9", "treekill has the other end open itself",
                [&fifo] { dup2(open(fifo.c_str(), O_RDWR), kLifeline); });
}

TEST_F(LifelineTest, WhatIsNone) {
  ExpectRefused("--lifeline=9", "it is not open");
  ExpectRefused("--lifeline=0", "no pipe or socket");
  std::string file = File("file");
  WriteAll(file, "x");
  ExpectRefused("--lifeline=9", "no pipe or socket",
                [&file] { dup2(open(file.c_str(), O_RDONLY), kLifeline); });
  for (const char* text : {"", "x", "-1", "9x", "99999999999", " 9", "+9"}) {
    ExpectRefused(absl::StrCat("--lifeline=", text), "invalid --lifeline");
  }
}

}  // namespace
}  // namespace treekill::rig
