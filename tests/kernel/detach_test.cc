// What makes a guardian of a process: kernel/detach.h, and ForkUnseen().
#include "treekill/kernel/detach.h"

#include <sys/resource.h>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::kernel {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Runs `prepare` in a forked child, then Detach() that keeps `keep`, and
// returns what `look` sees then.
std::string AfterDetach(const std::function<void()>& prepare,
                        std::vector<int> keep,
                        const std::function<std::string()>& look) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return "pipe2";
  UniqueFd reader(fds[0]);
  UniqueFd writer(fcntl(fds[1], F_DUPFD_CLOEXEC, 50));
  close(fds[1]);
  pid_t pid = fork();
  if (pid == 0) {
    prepare();
    keep.push_back(writer.get());
    Detach(std::move(keep));
    std::string text = look();
    _exit(write(writer.get(), text.data(), text.size()) < 0 ? 1 : 0);
  }
  writer.reset();
  std::string text;
  char buffer[4096];
  while (IsReadable(reader.get(), absl::Minutes(1))) {
    ssize_t count = read(reader.get(), buffer, sizeof(buffer));
    if (count <= 0) break;
    text.append(buffer, count);
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  return text;
}

void Nothing() {}

// "0 /dev/null\n" and so on, but for the pipe of AfterDetach().
std::string ShowFds() {
  std::string text;
  for (const auto& [fd, target] : rig::OpenFds()) {
    if (fd < 50) absl::StrAppend(&text, fd, " ", target, "\n");
  }
  return text;
}

constexpr char kStreams[] = "0 /dev/null\n1 /dev/null\n2 /dev/null\n";

TEST(Detach, ASessionOfItsOwnAtTheRoot) {
  EXPECT_EQ(AfterDetach(Nothing, {},
                        [] {
                          bool leads = getsid(0) == getpid();
                          return absl::StrCat(
                              leads, " ",
                              std::filesystem::current_path().string());
                        }),
            "1 /");
}

TEST(Detach, EveryDescriptorIsClosed) {
  UniqueFd zero(open("/dev/zero", O_RDONLY));
  EXPECT_EQ(AfterDetach(Nothing, {}, ShowFds), kStreams);
}

TEST(Detach, ButTheseAreKept) {
  auto open_three = [] {
    for (int fd : {20, 21, 30, 31, 32, 40}) {
      dup2(open("/dev/zero", O_RDONLY | O_CLOEXEC), fd);
    }
  };
  EXPECT_EQ(
      AfterDetach(open_three, {31, 20, 21}, ShowFds),
      absl::StrCat(kStreams, "20 /dev/zero\n21 /dev/zero\n31 /dev/zero\n"));
}

TEST(Detach, WithClosedStreams) {
  for (std::vector<int> closed : std::vector<std::vector<int>>{
           {0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}}) {
    auto close_them = [&] {
      for (int fd : closed) close(fd);
    };
    EXPECT_EQ(AfterDetach(close_them, {}, ShowFds), kStreams)
        << testing::PrintToString(closed);
  }
}

TEST(SetProcessName, IsWhatPsShows) {
  EXPECT_EQ(InChild([] {
              SetProcessName("treekill-guard");
              std::string name = ReadProcessStat(0)->comm;
              return name == "treekill-guard" ? "" : name;
            }),
            "");
}

// What SetCommandLine() made of this process's, in a copy of it.
std::string CommandLineAs(const std::string& text) {
  std::string seen = InChild([&] {
    SetCommandLine(text);
    std::string line = rig::ReadAll("/proc/self/cmdline");
    return absl::StrCat("seen ",
                        line.substr(0, line.find_last_not_of('\0') + 1));
  });
  EXPECT_THAT(seen, StartsWith("seen "));
  return seen.substr(5);
}

TEST(SetCommandLine, Short) { EXPECT_EQ(CommandLineAs("x"), "x"); }

TEST(SetCommandLine, LongerThanTheArguments) {
  std::string arguments = rig::ReadAll("/proc/self/cmdline");
  // Tests run with some environment, if not with much.
  for (size_t more : {0, 1, 2, 20}) {
    std::string text(arguments.size() + more, 'x');
    EXPECT_EQ(CommandLineAs(text), text) << more;
  }
  for (size_t less : {1, 2}) {
    std::string text(arguments.size() - less, 'x');
    EXPECT_EQ(CommandLineAs(text), text) << less;
  }
}

TEST(SetCommandLine, LongerThanThereIsRoom) {
  std::string text(4 << 20, 'x');
  std::string seen = CommandLineAs(text);
  EXPECT_GT(seen.size(), rig::ReadAll("/proc/self/cmdline").size());
  EXPECT_EQ(seen, std::string(seen.size(), 'x'));
}

TEST(RaiseDescriptorLimit, ToAllThatIsAllowed) {
  EXPECT_EQ(InChild([] {
              rlimit limit{100, 200};
              setrlimit(RLIMIT_NOFILE, &limit);
              RaiseDescriptorLimit();
              getrlimit(RLIMIT_NOFILE, &limit);
              return limit.rlim_cur == 200
                         ? ""
                         : absl::StrCat("limit ", limit.rlim_cur);
            }),
            "");
}

TEST(ForkUnseen, OnlyWhoKnowsItSeesItsEnd) {
  absl::StatusOr<Child> child = ForkUnseen();
  ASSERT_TRUE(child.ok()) << child.status();
  if (child->pid == 0) _exit(7);
  EXPECT_TRUE(IsReadable(child->pidfd.get(), absl::Minutes(1)));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(kill(child->pid, 0), 0) << "reaped by somebody else";
  absl::StatusOr<std::optional<ChildEnd>> end =
      PollChildEnd(child->pidfd.get(), /*reap=*/false);
  ASSERT_TRUE(end.ok() && end->has_value()) << end.status();
  EXPECT_EQ((*end)->value, 7);
  EXPECT_TRUE(ReapChild(child->pidfd.get()).ok());
  EXPECT_EQ(kill(child->pid, 0), -1);
}

TEST(ForkUnseen, NoSignalIsSentAtItsEnd) {
  sigset_t sigchld;
  sigset_t before;
  sigemptyset(&sigchld);
  sigaddset(&sigchld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &sigchld, &before);
  absl::StatusOr<Child> child = ForkUnseen();
  if (child.ok() && child->pid == 0) _exit(0);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_TRUE(ReapChild(child->pidfd.get()).ok());
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGCHLD), 0);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

TEST(ForkUnseen, EverySignalIsBlockedInTheCopyOnly) {
  std::string mask = "SigBlk:\t0000000000000000";
  EXPECT_THAT(rig::ReadAll("/proc/self/status"), HasSubstr(mask));
  absl::StatusOr<Child> child = ForkUnseen();
  ASSERT_TRUE(child.ok()) << child.status();
  if (child->pid == 0) {
    for (;;) pause();
  }
  // SIGKILL and SIGSTOP cannot be.
  EXPECT_THAT(rig::ReadAll(absl::StrCat("/proc/", child->pid, "/status")),
              HasSubstr("SigBlk:\tfffffffffffbfeff"));
  EXPECT_THAT(rig::ReadAll("/proc/self/status"), HasSubstr(mask));
  EXPECT_EQ(fcntl(child->pidfd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_TRUE(SendSignal(child->pidfd.get(), child->pid, SIGKILL).ok());
  EXPECT_TRUE(ReapChild(child->pidfd.get()).ok());
}

}  // namespace
}  // namespace treekill::kernel
