// For what runs on the memory of another process: see child.h for what that
// forbids.
#ifndef TREEKILL_KERNEL_RAW_CALL_H_
#define TREEKILL_KERNEL_RAW_CALL_H_

#include <unistd.h>

#include <cerrno>

namespace treekill::kernel {

// A system call, which returns what the kernel does: -errno on failure. Not by
// glibc, whose errno is that of the parent's thread while memory is shared, and
// whose wrappers sanitizers intercept with locks of their own.
template <typename... Arguments>
long Call(long number, Arguments... arguments) {
  const long a[6] = {(long)arguments...};  // NOLINT: pointers and numbers alike
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = a[3];
  register long r8 __asm__("r8") = a[4];
  register long r9 __asm__("r9") = a[5];
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10),
                     "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a[0];
  register long x1 __asm__("x1") = a[1];
  register long x2 __asm__("x2") = a[2];
  register long x3 __asm__("x3") = a[3];
  register long x4 __asm__("x4") = a[4];
  register long x5 __asm__("x5") = a[5];
  __asm__ volatile("svc #0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
#else
  // Without clone_entry.S memory is not shared.
  long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  return result < 0 ? -errno : result;
#endif
}

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_RAW_CALL_H_
