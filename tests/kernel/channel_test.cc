#include "treekill/kernel/channel.h"

#include <sys/resource.h>

#include <thread>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/error.h"

namespace treekill::kernel {
namespace {

using ::testing::SizeIs;

class ChannelTest : public ::testing::Test {
 protected:
  // Of what the near one has sent.
  void ExpectEnd() {
    char text[8];
    absl::StatusOr<Received> end =
        Receive(channel_.far.get(), text, sizeof(text));
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_EQ(end->size, 0u);
  }

  void SetUp() override {
    before_ = rig::OpenFds();
    absl::StatusOr<Channel> channel = MakeChannel();
    ASSERT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
  }

  void TearDown() override {
    channel_ = Channel();
    EXPECT_EQ(rig::OpenFds(), before_);
  }

  absl::Status SendText(const std::string& text,
                        const std::vector<int>& fds = {},
                        absl::Duration patience = absl::ZeroDuration()) {
    return Send(channel_.near.get(), text.data(), text.size(), fds, patience);
  }

  // "" when there is nothing.
  std::string ReceiveText(std::vector<UniqueFd>* fds = nullptr) {
    char text[64];
    absl::StatusOr<Received> received =
        Receive(channel_.far.get(), text, sizeof(text));
    if (!received.ok()) return "";
    if (fds != nullptr) *fds = std::move(received->fds);
    return std::string(text, received->size);
  }

  // Returns how many messages went in.
  int Fill() {
    int count = 0;
    while (SendText("full").ok()) ++count;
    return count;
  }

  Channel channel_;
  std::map<int, std::string> before_;
};

TEST_F(ChannelTest, MessagesKeepTheirBounds) {
  for (const char* text : {"a", "bcd", "e"}) EXPECT_TRUE(SendText(text).ok());
  EXPECT_EQ(ReceiveText(), "a");
  EXPECT_EQ(ReceiveText(), "bcd");
  EXPECT_EQ(ReceiveText(), "e");
  char text[8];
  EXPECT_EQ(
      StatusErrno(Receive(channel_.far.get(), text, sizeof(text)).status()),
      EAGAIN);
}

TEST_F(ChannelTest, TheLastMessageOfOneWhoHasNotReadAllIsThere) {
  EXPECT_TRUE(SendText("last").ok());
  EXPECT_TRUE(
      Send(channel_.far.get(), "unread", 6, {}, absl::ZeroDuration()).ok());
  channel_.near.reset();
  EXPECT_EQ(ReceiveText(), "last");
  ExpectEnd();
}

TEST_F(ChannelTest, OfAMessageThatIsTooLongTheRestIsDropped) {
  EXPECT_TRUE(SendText(std::string(65, 'x')).ok());
  EXPECT_TRUE(SendText("next").ok());
  EXPECT_EQ(ReceiveText(), std::string(64, 'x'));
  EXPECT_EQ(ReceiveText(), "next");
}

TEST_F(ChannelTest, DescriptorsArriveCloseOnExec) {
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  UniqueFd zero(open("/dev/zero", O_RDONLY));
  EXPECT_TRUE(SendText("two", {null.get(), zero.get()}).ok());
  EXPECT_TRUE(SendText("none").ok());
  std::vector<UniqueFd> fds;
  EXPECT_EQ(ReceiveText(&fds), "two");
  ASSERT_THAT(fds, SizeIs(2));
  std::map<int, std::string> open = rig::OpenFds();
  EXPECT_EQ(open[fds[0].get()], "/dev/null");
  EXPECT_EQ(open[fds[1].get()], "/dev/zero");
  for (const UniqueFd& fd : fds) {
    EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(ReceiveText(&fds), "none");
  EXPECT_THAT(fds, SizeIs(0));
}

TEST_F(ChannelTest, ItsOwnDescriptorsAreCloseOnExec) {
  for (const UniqueFd* fd : {&channel_.near, &channel_.far}) {
    EXPECT_EQ(fcntl(fd->get(), F_GETFD), FD_CLOEXEC);
    EXPECT_GT(fd->get(), STDERR_FILENO);
  }
}

// The message comes all the same.
TEST_F(ChannelTest, DescriptorsForWhichThereIsNoRoomAreLeftOut) {
  EXPECT_TRUE(SendText("x", {0, 1, 2}).ok());
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit low{3, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &low);
  std::vector<UniqueFd> fds;
  std::string text = ReceiveText(&fds);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(text, "x");
  EXPECT_THAT(fds, SizeIs(0));
}

TEST_F(ChannelTest, ThereIsAnEndWhenTheOtherSideIsClosed) {
  EXPECT_TRUE(SendText("last").ok());
  channel_.near.reset();
  EXPECT_EQ(ReceiveText(), "last");
  ExpectEnd();
}

TEST_F(ChannelTest, NobodyListens) {
  // A SIGPIPE would end the test.
  channel_.far.reset();
  absl::Status status = SendText("x");
  EXPECT_EQ(StatusErrno(status), EPIPE) << status;
}

TEST_F(ChannelTest, AFullOneIsWaitedForAndThenFails) {
  EXPECT_GT(Fill(), 0);
  absl::Duration began = MonotonicNow();
  absl::Status status = SendText("x", {}, absl::Milliseconds(100));
  EXPECT_EQ(StatusErrno(status), EAGAIN) << status;
  EXPECT_GE(MonotonicNow() - began, absl::Milliseconds(99));
}

TEST_F(ChannelTest, AFullOneIsWaitedForUntilThereIsRoom) {
  int count = Fill();
  std::thread reader([&] {
    absl::SleepFor(absl::Milliseconds(50));
    for (int i = 0; i < count; ++i) EXPECT_EQ(ReceiveText(), "full");
  });
  EXPECT_TRUE(SendText("x", {}, absl::Minutes(1)).ok());
  reader.join();
  EXPECT_EQ(ReceiveText(), "x");
}

// All processes of a user share the number of those that are on their way.
TEST_F(ChannelTest, TooManyDescriptorsOnTheirWayAreWaitedFor) {
  EXPECT_EQ(InChild([&]() -> std::string {
              rlimit limit{20, 20};
              if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return "setrlimit";
              // Of root as many as it likes.
              if (geteuid() == 0 && setuid(65534) < 0) return "setuid";
              int count = 0;
              while (SendText("full", {0, 1, 2}).ok()) ++count;
              absl::Status refused = SendText("x", {0}, absl::Milliseconds(20));
              if (StatusErrno(refused) != ETOOMANYREFS)
                return refused.ToString();
              std::thread reader([&] {
                absl::SleepFor(absl::Milliseconds(50));
                for (int i = 0; i < count; ++i) ReceiveText();
              });
              absl::Status sent = SendText("x", {0}, absl::Minutes(1));
              reader.join();
              if (!sent.ok()) return sent.ToString();
              return ReceiveText() == "x" ? "" : "it has not arrived";
            }),
            "");
}

// A host's timer must not make its guardian look broken.
TEST_F(ChannelTest, ASignalDoesNotEndTheWait) {
  int count = Fill();
  struct sigaction action {};
  struct sigaction before;
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, &before);
  pthread_t sender = pthread_self();
  std::thread reader([&] {
    for (int i = 0; i < 20; ++i) {
      pthread_kill(sender, SIGUSR1);
      absl::SleepFor(absl::Milliseconds(5));
    }
    for (int i = 0; i < count; ++i) EXPECT_EQ(ReceiveText(), "full");
  });
  absl::Status sent = SendText("x", {}, absl::Minutes(1));
  reader.join();
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_TRUE(sent.ok()) << sent;
}

}  // namespace
}  // namespace treekill::kernel
