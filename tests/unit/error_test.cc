#include "treekill/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "treekill/kernel/error.h"

namespace treekill {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Text(const absl::Status& status) {
  return std::string(status.message());
}

TEST(ErrnoStatus, SaysWhatWasTriedByWhichCallAndWhyItFailed) {
  absl::Status status = kernel::ErrnoStatus(EACCES, "mkdir", "cannot make /x");
  EXPECT_EQ(Text(status), "cannot make /x: mkdir: Permission denied");
}

TEST(ErrnoStatus, CarriesErrnoAndCall) {
  absl::Status status = kernel::ErrnoStatus(ENOENT, "execve", "cannot run x");
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_EQ(CallOf(status), "execve");
}

TEST(ErrnoStatus, HasTheCodeThatACallerWouldExpect) {
  auto code = [](int error) {
    return kernel::ErrnoStatus(error, "open", "x").code();
  };
  EXPECT_EQ(code(ENOENT), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(EEXIST), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code(EACCES), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EPERM), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EINVAL), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(EMFILE), absl::StatusCode::kResourceExhausted);
}

TEST(ErrnoStatus, IsNeverOk) {
  for (int error = 1; error < 134; ++error) {
    absl::Status status = kernel::ErrnoStatus(error, "open", "x");
    EXPECT_FALSE(status.ok()) << error;
    EXPECT_EQ(ErrnoOf(status), error);
  }
}

TEST(ErrnoStatus, AnErrnoThatNobodyKnows) {
  absl::Status status = kernel::ErrnoStatus(4096, "ioctl", "x");
  EXPECT_EQ(Text(status), "x: ioctl: error 4096");
  EXPECT_EQ(ErrnoOf(status), 4096);
}

TEST(WithHint, AddsToTheMessageAndKeepsTheRest) {
  absl::Status status = kernel::WithHint(
      kernel::ErrnoStatus(EROFS, "mkdir", "cannot make /x"), "mount it rw");
  EXPECT_THAT(Text(status), AllOf(StartsWith("cannot make /x: mkdir: "),
                                  HasSubstr("; mount it rw")));
  EXPECT_EQ(status.code(), absl::ErrnoToStatusCode(EROFS));
  EXPECT_EQ(ErrnoOf(status), EROFS);
  EXPECT_EQ(CallOf(status), "mkdir");
}

TEST(WithHint, NothingToAdd) {
  absl::Status status = kernel::ErrnoStatus(EIO, "read", "x");
  EXPECT_EQ(kernel::WithHint(status, ""), status);
}

TEST(ErrnoOf, AStatusThatNoSystemCallMade) {
  for (const absl::Status& status :
       {absl::OkStatus(), absl::InvalidArgumentError("x")}) {
    EXPECT_EQ(ErrnoOf(status), 0);
    EXPECT_EQ(CallOf(status), "");
  }
}

TEST(ErrnoOf, AForeignPayloadIsNoErrno) {
  absl::Status status = absl::InternalError("x");
  status.SetPayload("treekill/errno", absl::Cord("no number"));
  EXPECT_EQ(ErrnoOf(status), 0);
}

}  // namespace
}  // namespace treekill
