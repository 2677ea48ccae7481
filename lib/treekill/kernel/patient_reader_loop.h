// The life of PatientReader's helper, on the memory of its parent.
#ifndef TREEKILL_KERNEL_PATIENT_READER_LOOP_H_
#define TREEKILL_KERNEL_PATIENT_READER_LOOP_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace treekill::kernel {

// What both see. Who sets `turn` to the other's does not touch the rest until
// it is his again.
struct ReaderDesk {
  static constexpr uint32_t kParents = 0;
  static constexpr uint32_t kHelpers = 1;
  // A futex.
  std::atomic<uint32_t> turn = kParents;
  pid_t parent = 0;
  // -1: the helper is to end.
  int fd = -1;
  char* buffer = nullptr;
  size_t size = 0;
  // What was read, or -errno.
  int64_t result = 0;
};

// Looks whether it is the turn of `whose` for some 0.2 ms, without keeping the
// processor from others: to sleep and be woken takes longer than most reads.
bool ComesSoon(const std::atomic<uint32_t>& turn, uint32_t whose);

// See child.h for what is forbidden here.
[[noreturn]] void RunReaderLoop(void* desk);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_PATIENT_READER_LOOP_H_
