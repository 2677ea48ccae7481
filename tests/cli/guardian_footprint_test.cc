// What the guardian holds of its caller and costs the machine: nothing, and
// next to nothing.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/cli/death_fixture.h"
#include "treekill/kernel/fd.h"

namespace treekill::rig {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A line of lsof: a descriptor's number, or "cwd", "txt", "mem", ...
struct OpenFile {
  std::string fd;
  std::string type;
  std::string name;
};

// The number on the line of a file in /proc, such as "Private_Dirty:   36 kB".
int64_t NumberAt(const std::string& path, const std::string& label) {
  int64_t number = -1;
  for (absl::string_view line : absl::StrSplit(ReadAll(path), '\n')) {
    if (!absl::ConsumePrefix(&line, label)) continue;
    std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (!words.empty()) (void)absl::SimpleAtoi(words[0], &number);
  }
  return number;
}

class GuardianFootprintTest : public DeathTest {
 protected:
  std::vector<OpenFile> Lsof(pid_t pid) {
    Outcome outcome = RunProgram(
        {"lsof", "-w", "-n", "-P", "-p", absl::StrCat(pid), "-F", "ftn"});
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    std::vector<OpenFile> files;
    for (absl::string_view line : absl::StrSplit(outcome.output, '\n')) {
      std::string value(line.substr(line.empty() ? 0 : 1));
      if (absl::StartsWith(line, "f")) files.push_back({value, "", ""});
      if (files.empty()) continue;
      if (absl::StartsWith(line, "t")) files.back().type = value;
      if (absl::StartsWith(line, "n")) files.back().name = value;
    }
    return files;
  }

  // Treekill, started in the test's folder with a pipe as its input and
  // descriptors of every kind.
  std::unique_ptr<Program> StartWithMuch() {
    WriteAll(File("extra"), "x");
    EXPECT_EQ(mkfifo(File("fifo").c_str(), 0600), 0);
    int input[2];
    EXPECT_EQ(pipe2(input, O_CLOEXEC), 0);
    read_end_.reset(input[0]);
    write_end_.reset(input[1]);
    std::string folder = directory();
    return StartScript(kUntilDone, {}, [this, folder] {
      if (chdir(folder.c_str()) != 0) _exit(99);
      dup2(read_end_.get(), STDIN_FILENO);
      dup2(open("out", O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
      dup2(open("err", O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
      dup2(open("extra", O_RDONLY), 41);
      dup2(open("fifo", O_RDWR), 42);
      dup2(read_end_.get(), 43);
    });
  }

  void EndUntilDone(Program& program) {
    WriteAll(File("done"), "");
    EXPECT_EQ(program.Wait().exit_code(), 7);
  }

  kernel::UniqueFd read_end_;
  kernel::UniqueFd write_end_;
};

TEST_F(GuardianFootprintTest, HoldsNothingOfItsCaller) {
  std::unique_ptr<Program> program = StartWithMuch();
  pid_t guardian = SettledGuardianOf(program->pid());
  // The command has them all.
  std::string shown;
  for (const OpenFile& file : Lsof(program->pid())) {
    absl::StrAppend(&shown, file.type, " ", file.name, "\n");
  }
  for (const char* name : {"/extra", "/fifo", "/out", "/err"}) {
    EXPECT_THAT(shown, HasSubstr(directory() + name));
  }
  int sockets = 0;
  int pidfds = 0;
  for (const OpenFile& file : Lsof(guardian)) {
    SCOPED_TRACE(absl::StrCat("fd ", file.fd, " ", file.type, " ", file.name));
    EXPECT_THAT(file.type, Not(AnyOf("FIFO", "PIPE")));
    EXPECT_THAT(file.name, Not(StartsWith(directory())));
    if (file.fd == "cwd") {
      EXPECT_EQ(file.name, "/");
    }
    int fd = -1;
    if (!absl::SimpleAtoi(file.fd, &fd)) continue;
    if (fd <= STDERR_FILENO) {
      EXPECT_EQ(file.name, "/dev/null");
    } else if (file.type == "unix") {
      ++sockets;
    } else if (absl::StrContains(file.name, "pidfd")) {
      ++pidfds;
    } else {
      EXPECT_THAT(file.name, StartsWith(OwnCgroup()));
    }
  }
  EXPECT_EQ(sockets, 1);
  EXPECT_EQ(pidfds, 1);
  EndUntilDone(*program);
}

// Nor does one that takes the place of another.
TEST_F(GuardianFootprintTest, ReplacementHoldsNothingOfItsCaller) {
  std::unique_ptr<Program> program = StartWithMuch();
  pid_t first = GuardianOf(program->pid());
  kill(first, SIGKILL);
  GuardianOf(program->pid(), first);
  pid_t second = SettledGuardianOf(program->pid());
  for (const OpenFile& file : Lsof(second)) {
    SCOPED_TRACE(absl::StrCat("fd ", file.fd, " ", file.type, " ", file.name));
    EXPECT_THAT(file.type, Not(AnyOf("FIFO", "PIPE")));
    EXPECT_THAT(file.name, Not(StartsWith(directory())));
  }
  EndUntilDone(*program);
}

// In its grace, treekill and the leader being dead, and the one member that
// lives having closed its own.
TEST_F(GuardianFootprintTest, ReaderOfAPipeIsNotKeptWaiting) {
  int output[2];
  ASSERT_EQ(pipe2(output, O_CLOEXEC), 0);
  kernel::UniqueFd reader(output[0]);
  kernel::UniqueFd writer(output[1]);
  std::unique_ptr<Program> program =
      StartScript(absl::StrCat("exec >/dev/null 2>&1 44>&-\n", kSlowMember),
                  {"-k", "120s"}, [&writer] {
                    dup2(writer.get(), STDOUT_FILENO);
                    dup2(writer.get(), STDERR_FILENO);
                    dup2(writer.get(), 44);
                  });
  writer.reset();
  pid_t guardian = GuardianOf(program->pid());
  program->Signal(SIGTERM);
  ASSERT_TRUE(Comes("term"));
  program->Signal(SIGKILL);
  program->Wait();
  EXPECT_TRUE(IsGuardianAlive(guardian));
  pollfd ready{reader.get(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 60 * 1000), 1);
  char byte;
  EXPECT_EQ(read(reader.get(), &byte, 1), 0);
  EXPECT_TRUE(IsGuardianAlive(guardian));
  WriteAll(File("go"), "");
  ExpectAllGone(guardian);
}

using ThoroughGuardianFootprintTest = GuardianFootprintTest;

// It takes a while to see that.
TEST_F(ThoroughGuardianFootprintTest, SleepsWhileNothingHappens) {
  std::unique_ptr<Program> program = StartScript("touch ready; sleep 600");
  std::string status =
      absl::StrCat("/proc/", SettledGuardianOf(program->pid()), "/status");
  auto wakes = [&] { return NumberAt(status, "voluntary_ctxt_switches:"); };
  // Until it has settled down.
  int64_t before = -1;
  EXPECT_TRUE(Eventually([&] {
    before = wakes();
    absl::SleepFor(absl::Milliseconds(300));
    return before > 0 && wakes() == before;
  }));
  absl::SleepFor(absl::Seconds(3));
  EXPECT_EQ(wakes(), before);
  program->Signal(SIGTERM);
  program->Wait();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(GuardianFootprintTest, IsSmall) {
  std::unique_ptr<Program> program = StartScript(kUntilDone);
  std::string rollup = absl::StrCat("/proc/", SettledGuardianOf(program->pid()),
                                    "/smaps_rollup");
  int64_t own =
      NumberAt(rollup, "Private_Clean:") + NumberAt(rollup, "Private_Dirty:");
  int64_t share = NumberAt(rollup, "Pss:");
  std::cout << "guardian: " << own << " KiB of its own, PSS " << share
            << " KiB\n";
  RecordProperty("guardian_private_kib", absl::StrCat(own));
  RecordProperty("guardian_pss_kib", absl::StrCat(share));
  EXPECT_GT(own, 0);
  EXPECT_LT(own, 1024);
  EndUntilDone(*program);
}
#endif

}  // namespace
}  // namespace treekill::rig
