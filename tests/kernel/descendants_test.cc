// Whom a round of signals reaches below given processes.
#include "treekill/containment/descendants.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/kernel/fixture.h"

namespace treekill::containment {
namespace {

using DescendantsTest = KernelTest;

// A child of this process, its child, and so on; the last one's pid is read
// from the pipe. Each of them waits for a signal.
pid_t StartLine(int length, int writer) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  // As an ancestor must.
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  pid_t self = getpid();
  if (write(writer, &self, sizeof(self)) < 0) _exit(1);
  if (length > 1) StartLine(length - 1, writer);
  for (;;) pause();
}

// As a reaper's two processes are: one is the parent of the other.
TEST_F(DescendantsTest, AncestorsAreNotTouched) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  StartLine(4, ends[1]);
  pid_t line[4];
  for (pid_t& pid : line) ASSERT_EQ(read(ends[0], &pid, sizeof(pid)), 4);
  Descendants descendants({line[0], line[1]});
  for (int signal : {SIGCONT, SIGKILL}) {
    SignalRound round = descendants.Signal(signal, /*only_group=*/0, line[2]);
    EXPECT_TRUE(round.error.ok()) << round.error;
    EXPECT_EQ(round.signalled, 2);
    EXPECT_TRUE(round.leader_signalled);
    for (pid_t pid : {line[0], line[1]}) EXPECT_TRUE(IsAlive(pid));
  }
  // It was never stopped either: its parent would have been told.
  siginfo_t info{};
  EXPECT_EQ(waitid(P_PID, line[0], &info, WSTOPPED | WCONTINUED | WNOHANG), 0);
  EXPECT_EQ(info.si_pid, 0);
  EXPECT_TRUE(rig::Eventually([&] { return !IsAlive(line[2]); }));
  EXPECT_TRUE(rig::Eventually([&] { return !IsAlive(line[3]); }));
  for (pid_t pid : {line[1], line[0]}) kill(pid, SIGKILL);
  waitpid(line[0], nullptr, 0);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace treekill::containment
