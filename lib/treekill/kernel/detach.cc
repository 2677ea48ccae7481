#include "treekill/kernel/detach.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace treekill::kernel {
namespace {

void CloseRange(unsigned first, unsigned last) {
  if (first > last || syscall(SYS_close_range, first, last, 0) == 0) return;
  // A seccomp filter that is older than the call.
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (unsigned fd = first; fd <= last && fd < limit.rlim_cur; ++fd) close(fd);
}

}  // namespace

void Detach(std::vector<int> keep) {
  if (setsid() < 0) {
    // The leader of a process group may have no new session: back to the group
    // that it comes from, for a moment.
    setpgid(0, getpgid(getppid()));
    setsid();
  }
  LetGo(std::move(keep));
}

void LetGo(std::vector<int> keep) {
  // "/" is always there.
  [[maybe_unused]] int changed = chdir("/");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int stream = 0; stream <= STDERR_FILENO; ++stream) {
    if (null >= 0) {
      dup2(null, stream);
    } else {
      close(stream);
    }
  }
  std::sort(keep.begin(), keep.end());
  unsigned next = STDERR_FILENO + 1;
  for (int fd : keep) {
    CloseRange(next, static_cast<unsigned>(fd) - 1);
    next = static_cast<unsigned>(fd) + 1;
  }
  CloseRange(next, ~0U);
}

void SetProcessName(const std::string& name) {
  prctl(PR_SET_NAME, name.c_str(), 0, 0, 0);
}

void TakePrecedence() { setpriority(PRIO_PROCESS, 0, /*prio=*/-20); }

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace treekill::kernel
