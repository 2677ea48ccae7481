// What makes a guardian of a process: kernel/detach.h.
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

}  // namespace
}  // namespace treekill::kernel
