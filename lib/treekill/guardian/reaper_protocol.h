// What a supervisor and the reaper of one of its trees say to each other. There
// are two channels, so that each is read by one who waits for what comes there.
#ifndef TREEKILL_GUARDIAN_REAPER_PROTOCOL_H_
#define TREEKILL_GUARDIAN_REAPER_PROTOCOL_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::guardian {

// The program may be of another version than the library: this changes with
// every change below.
constexpr uint32_t kReaperProtocol = 2;

// What ps(1) shows; at most 15 bytes.
constexpr char kReaperName[] = "treekill-reaper";

// Its command line is FormatReaper(), and the numbers of its descriptors, which
// are those that nobody else has: the leader's channel, the tree's, the
// supervisor's pidfd, and the order in a file. When it has started the leader
// the inner one writes containment::FormatLeader() over the numbers, to which
// the supervisor has added blanks for that.
constexpr char kReaperCommandLine[] = "treekill: reaper of ";
constexpr int kReaperFds = 4;

// "treekill: reaper of 12, holds TREE"; `tree` is a containment::LeafName, as
// if the tree had a leaf.
std::string FormatReaper(pid_t supervisor, const std::string& tree);
// The tree; nullopt when the text is none of that form.
std::optional<std::string> ParseReaper(const std::string& text);

// To the supervisor, over the leader's channel.
struct LeaderNote {
  enum class Kind : uint32_t {
    // It runs; its pidfd and that of its parent come along.
    kStarted,
    // It does not: `failure` says why; with no stage there, `error` of `call`.
    kFailed,
    // The signal is in end.value.
    kStopped,
    kEnded,
  };

  Kind kind;
  pid_t pid;
  // Who is the leader's parent.
  pid_t reaper;
  kernel::ChildFailure failure;
  int32_t error;
  char call[16];
  kernel::ChildEnd end;
};

// Over the tree's channel. From the supervisor that may also be a "1", which is
// what a cgroup.kill takes, and means kKill; or a Message of protocol.h.
enum class TreeNote : uint32_t {
  // To the supervisor: nobody is alive. The last one.
  kEmpty,
  // All that are alive are such as the kernel does not let us kill.
  kRefused,
  // From it: SIGKILL to everybody, until nobody is left.
  kKill,
  // The reaper is to go, and to leave those who are left.
  kGiveUp,
};

// What a reaper is to do.
struct ReaperOrder {
  // To be run as the leader, but for descriptors, which it has already.
  kernel::ChildPlan plan;
  // When the supervisor dies: SIGKILL to everybody, or none to anybody.
  bool kill_on_death = false;
  absl::Duration drain_timeout;
};

// One that owns what its plan points to.
class OwnedOrder final {
 public:
  OwnedOrder(const OwnedOrder&) = delete;
  OwnedOrder& operator=(const OwnedOrder&) = delete;

  ReaperOrder order;

 private:
  friend absl::StatusOr<std::unique_ptr<OwnedOrder>> UnpackOrder(
      std::string packed);
  explicit OwnedOrder(std::string packed) : packed_(std::move(packed)) {}
  // Returns false when it is none.
  bool Unpack();

  std::string packed_;
  std::vector<kernel::ChildLimit> limits_;
  std::vector<char*> pid_texts_;
  std::vector<const char*> argv_, envp_, paths_, shell_argv_;
};

std::string PackOrder(const ReaperOrder& order);
absl::StatusOr<std::unique_ptr<OwnedOrder>> UnpackOrder(std::string packed);

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_REAPER_PROTOCOL_H_
