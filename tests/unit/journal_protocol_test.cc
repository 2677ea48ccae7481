// What arrives at a journal's socket.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/systemd/journal.h"

namespace treekill::systemd {
namespace {

using ::testing::HasSubstr;

class JournalProtocolTest : public testing::Test {
 protected:
  void SetUp() override {
    before_ = rig::OpenFds();
    journal_.reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(journal_.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof(address)),
              0)
        << strerror(errno);
  }

  void TearDown() override {
    kernel::SetFaultHookForTesting(nullptr);
    journal_.reset();
    EXPECT_EQ(rig::OpenFds(), before_);
  }

  absl::Status Send(const std::vector<JournalField>& fields) {
    return SendToJournal(fields, path_);
  }

  kernel::Received Receive(std::string* datagram) {
    datagram->resize(1 << 20);
    absl::StatusOr<kernel::Received> received =
        kernel::Receive(journal_.get(), datagram->data(), datagram->size());
    EXPECT_TRUE(received.ok()) << received.status();
    if (!received.ok()) return {};
    datagram->resize(received->size);
    return *std::move(received);
  }

  std::map<int, std::string> before_;
  rig::TempDir directory_;
  std::string path_ = directory_.File("socket");
  kernel::UniqueFd journal_;
};

TEST_F(JournalProtocolTest, ALineForEachField) {
  ASSERT_TRUE(Send({{"MESSAGE", "hello"}, {"EMPTY", ""}, {"A_1", "b=c"}}).ok());
  std::string datagram;
  EXPECT_TRUE(Receive(&datagram).fds.empty());
  EXPECT_EQ(datagram, "MESSAGE=hello\nEMPTY=\nA_1=b=c\n");
}

TEST_F(JournalProtocolTest, BytesStayAsTheyAre) {
  std::string bytes("\xff\x01\0=", 4);
  ASSERT_TRUE(Send({{"A", bytes}, {"B", "two\nlines"}, {"C", "\n"}}).ok());
  std::string datagram;
  Receive(&datagram);
  std::string length9("\x09\0\0\0\0\0\0\0", 8);
  std::string length1("\x01\0\0\0\0\0\0\0", 8);
  EXPECT_EQ(datagram, absl::StrCat("A=", bytes, "\nB\n", length9,
                                   "two\nlines\nC\n", length1, "\n\n"));
}

TEST_F(JournalProtocolTest, TheLengthIsLittleEndian) {
  std::string value(0x10203, '\n');
  ASSERT_TRUE(Send({{"A", value}}).ok());
  std::string datagram;
  Receive(&datagram);
  EXPECT_EQ(datagram.substr(0, 10), std::string("A\n\3\2\1\0\0\0\0\0", 10));
}

TEST_F(JournalProtocolTest, WhatIsTooLongIsInASealedFile) {
  std::string value(4 << 20, 'x');
  ASSERT_TRUE(Send({{"A", value}}).ok());
  std::string datagram;
  kernel::Received received = Receive(&datagram);
  EXPECT_EQ(datagram, "");
  ASSERT_EQ(received.fds.size(), 1u);
  int file = received.fds[0].get();
  // Without these journald does not take it.
  constexpr int kSeals =
      F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  EXPECT_EQ(fcntl(file, F_GET_SEALS) & kSeals, kSeals);
  std::string content(value.size() + 100, '\0');
  content.resize(pread(file, content.data(), content.size(), 0));
  EXPECT_EQ(content, absl::StrCat("A=", value, "\n"));
}

TEST_F(JournalProtocolTest, NobodyIsThere) {
  journal_.reset();
  absl::Status sent = Send({{"A", "b"}});
  EXPECT_TRUE(absl::IsNotFound(sent)) << sent;
  EXPECT_THAT(std::string(sent.message()), HasSubstr(path_));
  EXPECT_TRUE(absl::IsNotFound(FindJournal(path_)));
  EXPECT_TRUE(absl::IsNotFound(FindJournal(directory_.File("none"))));
}

TEST_F(JournalProtocolTest, SomebodyIsThere) {
  EXPECT_TRUE(FindJournal(path_).ok());
}

TEST_F(JournalProtocolTest, APathThatNoSocketCanHave) {
  absl::Status found = FindJournal("/" + std::string(200, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(found)) << found;
}

// Without an end, one that waits would never return.
TEST_F(JournalProtocolTest, OneThatDoesNotReadIsAnError) {
  absl::Status sent;
  for (int i = 0; i < 100000 && sent.ok(); ++i) sent = Send({{"A", "b"}});
  EXPECT_EQ(kernel::StatusErrno(sent), EAGAIN) << sent;
  EXPECT_THAT(std::string(sent.message()), HasSubstr(path_));
}

TEST_F(JournalProtocolTest, WhatTheKernelRefusesIsSaid) {
  kernel::SetFaultHookForTesting([](const char* call, const char*) {
    return strcmp(call, "memfd_create") == 0 ? EMFILE : 0;
  });
  absl::Status sent = Send({{"A", std::string(4 << 20, 'x')}});
  EXPECT_EQ(kernel::StatusErrno(sent), EMFILE) << sent;
  kernel::SetFaultHookForTesting([](const char* call, const char*) {
    return strcmp(call, "connect") == 0 ? EACCES : 0;
  });
  EXPECT_EQ(kernel::StatusErrno(Send({{"A", "b"}})), EACCES);
}

}  // namespace
}  // namespace treekill::systemd
