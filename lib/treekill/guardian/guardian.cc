#include "treekill/guardian/guardian.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "treekill/containment/leaf_name.h"
#include "treekill/containment/placement.h"
#include "treekill/guardian/finish.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/cgroup.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/detach.h"
#include "treekill/kernel/error.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/kernel/signals.h"
#include "treekill/kernel/syscalls.h"

namespace treekill::guardian {
namespace {

class GuardianProcess final {
 public:
  explicit GuardianProcess(const GuardianEnds& ends) : ends_(ends) {}

  void SayReady() {
    Note ready = ReadyNote();
    // A supervisor that is gone is seen below.
    (void)kernel::Send(ends_.channel.get(), &ready.message,
                       sizeof(ready.message), {}, absl::ZeroDuration());
  }

  // Returns false when there is nobody left who could send more.
  bool ReadMessages() {
    while (true) {
      Message message;
      absl::StatusOr<kernel::Received> received =
          kernel::Receive(ends_.channel.get(), &message, sizeof(message));
      if (!received.ok()) {
        return kernel::StatusErrno(received.status()) == EAGAIN;
      }
      if (received->size == 0) return false;
      if (received->size == sizeof(message)) {
        Take(message, std::move(received->fds));
      }
    }
  }

  void Finish() {
    std::vector<Finisher> finishers;
    for (auto& [id, ward] : wards_) {
      bool in_grace = ward.rest.grace_end > kernel::MonotonicNow();
      if (ward.parent == nullptr) continue;
      absl::StatusOr<std::unique_ptr<containment::Hold>> hold =
          containment::TakeOverLeaf(*ward.parent, ward.name,
                                    std::move(ward.fds));
      if (!hold.ok()) continue;
      finishers.emplace_back(*std::move(hold), std::move(ward.rest));
      // Kills those that get no grace before anything else is done.
      finishers.back().Advance();
      if (in_grace) BecomeOwner(ward);
    }
    FinishAll(&finishers);
  }

 private:
  // What is to be ended should the supervisor die.
  struct Ward {
    // Of the leaf.
    std::shared_ptr<const kernel::Cgroup> parent;
    std::string name;
    containment::LeafFds fds;
    RestOfTeardown rest;
  };

  void Take(const Message& message, std::vector<kernel::UniqueFd> fds) {
    switch (message.kind) {
      case Message::Kind::kPrepare:
        if (fds.size() == 1) {
          parent_ = std::make_shared<const kernel::Cgroup>(
              kernel::Cgroup::Adopt(std::move(fds[0]), ""));
        }
        wards_[message.id] = {
            parent_,
            std::string(message.name,
                        strnlen(message.name, sizeof(message.name))),
            containment::LeafFds(), RestFrom(message)};
        return;
      case Message::Kind::kHold:
        if (fds.size() == 3) {
          wards_[message.id].fds = {std::move(fds[0]), std::move(fds[1]),
                                    std::move(fds[2])};
        }
        return;
      case Message::Kind::kGrace:
        wards_[message.id].rest = RestFrom(message);
        return;
      case Message::Kind::kRelease:
        wards_.erase(message.id);
        return;
      case Message::Kind::kReady:
        return;
    }
  }

  // Or a gc would see a leaf without one, and cut the grace short.
  void BecomeOwner(const Ward& ward) {
    absl::StatusOr<kernel::Cgroup> leaf = ward.parent->OpenChild(ward.name);
    if (leaf.ok()) {
      (void)containment::SetOwner(*leaf, containment::ThisProcess());
    }
  }

  const GuardianEnds& ends_;
  // The last that came. Most have the same; and when there is no room for one
  // more descriptor, it is the best guess.
  std::shared_ptr<const kernel::Cgroup> parent_;
  std::map<uint64_t, Ward> wards_;
};

// Waits for a message. Returns false at the end of the supervisor.
bool Await(const GuardianEnds& ends) {
  while (true) {
    pollfd fds[] = {{ends.supervisor.get(), POLLIN, 0},
                    {ends.channel.get(), POLLIN, 0}};
    int count = kernel::Poll(fds, std::size(fds), /*timeout_ms=*/-1);
    if (count < 0 && errno == EINTR) continue;
    // A host that execs another program lives on, and its channel does not.
    return count > 0 && fds[0].revents == 0 && fds[1].revents == POLLIN;
  }
}

}  // namespace

void RunGuardian(const GuardianEnds& ends) {
  kernel::BlockAllSignals();
  kernel::Detach({ends.channel.get(), ends.supervisor.get()});
  kernel::SetProcessName(kGuardianName);
  // Three for each tree.
  kernel::RaiseDescriptorLimit();
  GuardianProcess guardian(ends);
  guardian.SayReady();
  while (Await(ends) && guardian.ReadMessages()) {
  }
  // What was sent before the end.
  guardian.ReadMessages();
  guardian.Finish();
  _exit(0);
}

int GuardianMain() {
  if (!kernel::IsChannel(kChannelFd)) {
    fputs(
        "treekill-guardian: it is started by treekill, and does nothing by "
        "itself\n",
        stderr);
    return 125;
  }
  GuardianEnds ends;
  ends.channel.reset(kChannelFd);
  ends.supervisor.reset(kSupervisorFd);
  RunGuardian(ends);
}

}  // namespace treekill::guardian
