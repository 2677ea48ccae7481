// How they are ended; processes_find.cc is how they are found.
#include "treekill/processes.h"

#include <algorithm>
#include <csignal>
#include <utility>
#include <vector>

#include "treekill/guardian/finish.h"
#include "treekill/kernel/event_loop.h"
#include "treekill/processes_impl.h"
#include "treekill/snapshot.h"

namespace treekill {

absl::StatusOr<std::vector<pid_t>> Processes::Impl::Pids() {
  if (gathered_ != nullptr) return gathered_->Members();
  absl::StatusOr<kernel::CgroupMembers> members =
      cgroup_->Members(kernel::Cgroup::Modes::kLeave);
  if (!members.ok()) return members.status();
  return std::move(members->pids);
}

ProcessesEnd Processes::Impl::End(const EndOptions& options) {
  ProcessesEnd end;
  guardian::RestOfTeardown rest;
  rest.drain_timeout = options.drain_timeout;
  absl::Status sent;
  if (options.signal == SIGKILL) {
    sent = hold_->Kill();
  } else {
    sent = hold_->Signal(options.signal, /*only_group=*/0).error;
    rest.grace_end = kernel::MonotonicNow() + options.grace;
  }
  std::vector<guardian::Finisher> finishers;
  finishers.emplace_back(std::move(hold_), rest);
  guardian::FinishAll(&finishers);
  end.killed = options.signal == SIGKILL || finishers[0].killed();
  end.error = finishers[0].result();
  if (gathered_ != nullptr) {
    end.refused = internal::DescribeMembers(gathered_->Refused());
  }
  end.drained = end.error.ok() && end.refused.empty();
  if (end.drained) return end;
  if (!sent.ok()) end.error = sent;
  absl::StatusOr<std::vector<pid_t>> alive = finishers[0].hold().Members();
  if (!alive.ok()) return end;
  for (Member& member : internal::DescribeMembers(*alive)) {
    bool is_refused = std::any_of(
        end.refused.begin(), end.refused.end(),
        [&](const Member& other) { return other.pid == member.pid; });
    if (!is_refused) end.survivors.push_back(std::move(member));
  }
  return end;
}

Processes::Processes(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Processes::Processes(Processes&&) noexcept = default;
Processes& Processes::operator=(Processes&&) noexcept = default;
Processes::~Processes() = default;

const std::string& Processes::name() const { return impl_->name(); }

absl::StatusOr<std::vector<Member>> Processes::Members() {
  absl::StatusOr<std::vector<pid_t>> pids = impl_->Pids();
  if (!pids.ok()) return pids.status();
  std::sort(pids->begin(), pids->end());
  return internal::DescribeMembers(*pids);
}

ProcessesEnd Processes::End(const EndOptions& options) && {
  return impl_->End(options);
}

}  // namespace treekill
