#include "treekill/kernel/patient_reader_loop.h"

#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csignal>

#include "treekill/kernel/raw_call.h"

namespace treekill::kernel {
namespace {

int64_t ReadAll(const ReaderDesk& desk) {
  size_t size = 0;
  while (size < desk.size) {
    long count = Call(SYS_read, desk.fd, desk.buffer + size, desk.size - size);
    if (count < 0) return count;
    if (count == 0) break;
    size += count;
  }
  return static_cast<int64_t>(size);
}

}  // namespace

bool ComesSoon(const std::atomic<uint32_t>& turn, uint32_t whose) {
  constexpr int kLooks = 20000;
  constexpr int kLooksPerYield = 100;
  for (int i = 0; i < kLooks; ++i) {
    if (turn.load() == whose) return true;
    if (i % kLooksPerYield == 0) Call(SYS_sched_yield);
#if defined(__x86_64__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }
  return false;
}

void RunReaderLoop(void* argument) {
  auto* desk = static_cast<ReaderDesk*>(argument);
  Call(SYS_prctl, PR_SET_NAME, "treekill-reader", 0, 0, 0);
  Call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (Call(SYS_getppid) != desk->parent) Call(SYS_exit_group, 127);
  while (true) {
    while (!ComesSoon(desk->turn, ReaderDesk::kHelpers)) {
      Call(SYS_futex, &desk->turn, FUTEX_WAIT, ReaderDesk::kParents, nullptr,
           nullptr, 0);
    }
    if (desk->fd < 0) Call(SYS_exit_group, 0);
    desk->result = ReadAll(*desk);
    desk->turn.store(ReaderDesk::kParents);
    Call(SYS_futex, &desk->turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
}

}  // namespace treekill::kernel
