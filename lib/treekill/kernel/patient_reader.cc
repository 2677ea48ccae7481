#include "treekill/kernel/patient_reader.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/patient_reader_loop.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/syscalls.h"
#include "treekill/kernel/time_limit.h"

namespace treekill::kernel {
namespace {

// For one that cannot even be killed, which ought not to be. Where thousands
// want the processor the others may take a second, too.
constexpr absl::Duration kLongestDeath = absl::Seconds(5);

absl::Status ReadFailure(int error, const std::string& shown) {
  return ErrnoStatus(error, "read", absl::StrCat("cannot read ", shown));
}

absl::StatusOr<std::string> ReadHere(int fd, size_t limit,
                                     const std::string& shown) {
  std::string text(limit, '\0');
  size_t size = 0;
  while (size < limit) {
    ssize_t count = Read(fd, &text[size], limit - size);
    if (count < 0) return ReadFailure(errno, shown);
    if (count == 0) break;
    size += count;
  }
  text.resize(size);
  return text;
}

}  // namespace

struct PatientReader::Helper {
  ReaderDesk desk;
  // A late read must not go to memory that is another's by then.
  std::string buffer;
  HelperMemory memory;
  Child child;
};

PatientReader::PatientReader(absl::Duration patience) : patience_(patience) {}
PatientReader::~PatientReader() {
  if (helper_ == nullptr) return;
  Ask(-1);
  AwaitEnd();
}

absl::Status PatientReader::Start() {
  auto helper = std::make_unique<Helper>();
  helper->desk.parent = getpid();
  helper->memory.run = RunReaderLoop;
  helper->memory.argument = &helper->desk;
  absl::StatusOr<Child> child = CloneHelper(&helper->memory);
  if (!child.ok()) return child.status();
  helper->child = *std::move(child);
  helper_ = std::move(helper);
  return absl::OkStatus();
}

void PatientReader::Ask(int fd) {
  helper_->desk.fd = fd;
  helper_->desk.turn.store(ReaderDesk::kHelpers);
  syscall(SYS_futex, &helper_->desk.turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

bool PatientReader::AwaitAnswer() {
  std::atomic<uint32_t>& turn = helper_->desk.turn;
  absl::Duration until = MonotonicNow() + TimeLimit("read", patience_ / 4);
  while (!ComesSoon(turn, ReaderDesk::kParents)) {
    absl::Duration left = until - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    timespec patience = absl::ToTimespec(left);
    syscall(SYS_futex, &turn, FUTEX_WAIT, ReaderDesk::kHelpers, &patience,
            nullptr, 0);
  }
  return true;
}

void PatientReader::Kill() {
  (void)SendSignal(helper_->child.pidfd.get(), helper_->child.pid, SIGKILL);
  AwaitEnd();
}

void PatientReader::AwaitEnd() {
  int pidfd = helper_->child.pidfd.get();
  if (!kernel::AwaitEnd(pidfd, MonotonicNow() + kLongestDeath)) {
    // It may wake up at any time, on this memory.
    (void)helper_.release();
    return;
  }
  (void)ReapChild(pidfd);
  helper_.reset();
}

absl::StatusOr<std::string> PatientReader::Read(int fd, size_t limit,
                                                const std::string& shown) {
  if (!kSharesMemory) return ReadHere(fd, limit, shown);
  if (helper_ == nullptr) {
    absl::Status started = Start();
    if (!started.ok()) return started;
  }
  helper_->buffer.resize(limit);
  ReaderDesk& desk = helper_->desk;
  desk.buffer = helper_->buffer.data();
  desk.size = limit;
  absl::Duration began = MonotonicNow();
  Ask(fd);
  if (!AwaitAnswer()) {
    Kill();
    patience_ -= std::min(MonotonicNow() - began, patience_);
    return absl::DeadlineExceededError(absl::StrCat(
        "cannot read ", shown, ": the process holds up who looks at it"));
  }
  if (desk.result < 0) {
    return ReadFailure(static_cast<int>(-desk.result), shown);
  }
  return helper_->buffer.substr(0, desk.result);
}

}  // namespace treekill::kernel
