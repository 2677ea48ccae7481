// What a supervisor tells its guardian: one message each, over a channel. There
// are no answers but the first word of a guardian that is a program: a message
// that was sent is read, also when its sender has died since.
#ifndef TREEKILL_GUARDIAN_PROTOCOL_H_
#define TREEKILL_GUARDIAN_PROTOCOL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "treekill/containment/hold.h"
#include "treekill/guardian/finish.h"
#include "treekill/kernel/cgroup.h"

namespace treekill::guardian {

// The guardian's program may be of another version than the library: this
// changes with every change below.
constexpr uint64_t kProtocolVersion = 1;

// What ps(1) shows; at most 15 bytes.
constexpr char kGuardianName[] = "treekill-guard";

// Where the guardian's program finds its descriptors.
constexpr int kChannelFd = 3;
constexpr int kSupervisorFd = 4;

constexpr int kMaxSteps = 8;

struct Message {
  enum class Kind : uint32_t {
    // From the guardian: it is at work. `id` is its version.
    kReady,
    // A leaf called `name` is about to be made in the directory that comes as
    // one descriptor; `drain_timeout_ns` is set.
    kPrepare,
    // It was made. With three descriptors, or none: directory, cgroup.kill,
    // cgroup.events.
    kHold,
    // Its teardown: the members of `only_group` (0: all) are being sent a
    // signal, and may react until `grace_end`; then come `steps`.
    kGrace,
    // It is gone.
    kRelease,
  };

  struct Step {
    int32_t signal;
    int64_t grace_ns;
  };

  Kind kind;
  int32_t only_group;
  uint64_t id;
  // Nanoseconds of CLOCK_MONOTONIC; the largest number is for ever.
  int64_t grace_end_ns;
  int64_t drain_timeout_ns;
  int32_t step_count;
  Step steps[kMaxSteps];
  char name[256];
};

// A message and the descriptors that go with it, which it borrows.
struct Note {
  Message message;
  std::vector<int> fds;
};

Note ReadyNote();
Note PrepareNote(uint64_t id, const kernel::Cgroup& parent,
                 const std::string& leaf, absl::Duration drain_timeout);
Note HoldNote(uint64_t id, const containment::Hold& hold);
Note GraceNote(uint64_t id, const RestOfTeardown& rest);
Note ReleaseNote(uint64_t id);

// Of a kPrepare or kGrace.
RestOfTeardown RestFrom(const Message& message);

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_PROTOCOL_H_
