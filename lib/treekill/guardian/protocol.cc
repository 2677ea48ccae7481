#include "treekill/guardian/protocol.h"

#include <algorithm>
#include <cstring>

namespace treekill::guardian {
namespace {

absl::Duration FromNanoseconds(int64_t nanoseconds) {
  return nanoseconds == INT64_MAX ? absl::InfiniteDuration()
                                  : absl::Nanoseconds(nanoseconds);
}

Note Empty(Message::Kind kind, uint64_t id) {
  Note note{};
  note.message.kind = kind;
  note.message.id = id;
  return note;
}

}  // namespace

Note ReadyNote() { return Empty(Message::Kind::kReady, kProtocolVersion); }

Note PrepareNote(uint64_t id, const kernel::Cgroup& parent,
                 const std::string& leaf, absl::Duration drain_timeout) {
  Note note = Empty(Message::Kind::kPrepare, id);
  note.fds = {parent.fd()};
  note.message.drain_timeout_ns = absl::ToInt64Nanoseconds(drain_timeout);
  memcpy(note.message.name, leaf.data(),
         std::min(leaf.size(), sizeof(note.message.name)));
  return note;
}

Note HoldNote(uint64_t id, const containment::Hold& hold) {
  Note note = Empty(Message::Kind::kHold, id);
  // Before Linux 5.14 there is no cgroup.kill; the guardian opens the leaf.
  if (hold.kill_fd() >= 0) {
    note.fds = {hold.cgroup_fd(), hold.kill_fd(), hold.events_fd()};
  }
  return note;
}

Note GraceNote(uint64_t id, const RestOfTeardown& rest) {
  Note note = Empty(Message::Kind::kGrace, id);
  Message& message = note.message;
  message.only_group = rest.only_group;
  message.grace_end_ns = absl::ToInt64Nanoseconds(rest.grace_end);
  message.drain_timeout_ns = absl::ToInt64Nanoseconds(rest.drain_timeout);
  // Of a longer escalation the last steps are left out: SIGKILL comes sooner.
  message.step_count =
      static_cast<int>(std::min<size_t>(rest.steps.size(), kMaxSteps));
  for (int i = 0; i < message.step_count; ++i) {
    message.steps[i] = {rest.steps[i].signal,
                        absl::ToInt64Nanoseconds(rest.steps[i].grace)};
  }
  return note;
}

Note ReleaseNote(uint64_t id) { return Empty(Message::Kind::kRelease, id); }

RestOfTeardown RestFrom(const Message& message) {
  RestOfTeardown rest;
  rest.grace_end = FromNanoseconds(message.grace_end_ns);
  rest.drain_timeout = FromNanoseconds(message.drain_timeout_ns);
  rest.only_group = message.only_group;
  int count = std::clamp(message.step_count, 0, kMaxSteps);
  for (int i = 0; i < count; ++i) {
    rest.steps.push_back(
        {message.steps[i].signal, FromNanoseconds(message.steps[i].grace_ns)});
  }
  return rest;
}

}  // namespace treekill::guardian
