// Signal masks that leave nothing out, and signal names.
#ifndef TREEKILL_KERNEL_SIGNALS_H_
#define TREEKILL_KERNEL_SIGNALS_H_

#include <cstdint>
#include <optional>
#include <string>

namespace treekill::kernel {

// A set of signals as the kernel has it: bit N-1 is signal N.
using SignalSet = uint64_t;
constexpr SignalSet SignalBit(int signal) {
  return SignalSet{1} << (signal - 1);
}

constexpr int kLastSignal = 64;
constexpr SignalSet kEverySignal = ~SignalSet{0};

// Blocks every signal of the calling thread, the two that glibc keeps for
// itself included: its sigprocmask(3) leaves them out.
void BlockAllSignals();

// The same while it lives: a handler run between vfork and exec would work on
// the parent's memory.
class ScopedBlockAllSignals final {
 public:
  ScopedBlockAllSignals();
  ~ScopedBlockAllSignals();
  ScopedBlockAllSignals(const ScopedBlockAllSignals&) = delete;
  ScopedBlockAllSignals& operator=(const ScopedBlockAllSignals&) = delete;

 private:
  SignalSet saved_ = 0;
};

// "TERM", "SIGTERM", "term", "15", "RTMIN", "RTMIN+3", "RTMAX-1"; nullopt for
// anything else, 0 included.
std::optional<int> ParseSignal(const std::string& text);

// "TERM"; "RTMIN+3"; the number where there is no name.
std::string SignalName(int signal);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_SIGNALS_H_
