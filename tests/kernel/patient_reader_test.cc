// Reads that do not return.
#include "treekill/kernel/patient_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <string>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/error.h"

namespace treekill::kernel {
namespace {

// Of which nothing is to be read, for as long as `writer` is open.
struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }
  UniqueFd reader;
  UniqueFd writer;
};

size_t Descriptors() {
  std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files));
}

std::string Children() {
  std::string file = absl::StrCat("/proc/self/task/", gettid(), "/children");
  return *ReadFile(AT_FDCWD, file, file);
}

TEST(PatientReaderTest, ReadsFilesInTurn) {
  PatientReader reader(absl::Seconds(60));
  for (int i = 0; i < 1000; ++i) {
    UniqueFd fd(open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC));
    absl::StatusOr<std::string> text =
        reader.Read(fd.get(), 1 << 16, "/proc/self/cmdline");
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, *ReadFile(AT_FDCWD, "/proc/self/cmdline", "cmdline"));
  }
}

TEST(PatientReaderTest, ReadsNoMoreThanTheLimit) {
  PatientReader reader(absl::Seconds(60));
  UniqueFd fd(open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(reader.Read(fd.get(), 3, "cmdline")->size(), 3u);
  EXPECT_EQ(*reader.Read(fd.get(), 0, "cmdline"), "");
}

TEST(PatientReaderTest, SaysWhatFailed) {
  PatientReader reader(absl::Seconds(60));
  UniqueFd fd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  absl::Status status = reader.Read(fd.get(), 10, "/").status();
  EXPECT_EQ(StatusErrno(status), EISDIR) << status;
  EXPECT_EQ(StatusCall(status), "read");
}

TEST(PatientReaderTest, GoesOnAfterAReadThatDoesNotReturn) {
  PatientReader reader(absl::Minutes(4));
  Pipe stuck;
  for (int i = 0; i < 3; ++i) {
    {
      ScopedLimit limit("read", absl::Milliseconds(20));
      EXPECT_TRUE(absl::IsDeadlineExceeded(
          reader.Read(stuck.reader.get(), 10, "a pipe").status()));
    }
    UniqueFd fd(open("/proc/self/comm", O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(reader.Read(fd.get(), 100, "comm").ok());
  }
}

TEST(PatientReaderTest, LeavesNoProcessAndNoDescriptor) {
  std::string children = Children();
  size_t descriptors = Descriptors();
  for (int i = 0; i < 3; ++i) {
    PatientReader reader(absl::Milliseconds(100));
    Pipe stuck;
    EXPECT_FALSE(reader.Read(stuck.reader.get(), 10, "a pipe").ok());
    PatientReader idle(absl::Seconds(60));
    ASSERT_EQ(write(stuck.writer.get(), "x", 1), 1);
    EXPECT_EQ(*idle.Read(stuck.reader.get(), 1, "a pipe"), "x");
  }
  EXPECT_EQ(Children(), children);
  EXPECT_EQ(Descriptors(), descriptors);
}

}  // namespace
}  // namespace treekill::kernel
