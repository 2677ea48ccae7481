// Runs that a reaper holds.
#include <unistd.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "treekill/guardian/foreign_reaper.h"
#include "treekill/kernel/error.h"
#include "treekill/live_run_impl.h"

namespace treekill {
namespace {

using guardian::ForeignReaper;
using guardian::FoundReaper;

std::vector<pid_t> PidsOf(const FoundReaper& reaper) {
  std::vector<pid_t> pids;
  for (const kernel::ProcessStat& process : reaper.processes) {
    pids.push_back(process.pid);
  }
  return pids;
}

absl::Status NeedsCgroup(const LiveRunInfo& info, const char* what) {
  return kernel::WithHint(
      absl::FailedPreconditionError(absl::StrCat(
          info.id, " is held by a subreaper: ", what, " needs a cgroup")),
      "'treekill doctor' tells how to have one");
}

class ReaperRun final : public LiveRun::Impl {
 public:
  ReaperRun(LiveRunInfo info, FoundReaper reaper)
      : Impl(std::move(info)), reaper_(std::move(reaper)) {}

  absl::StatusOr<std::vector<pid_t>> Pids() const override {
    absl::StatusOr<std::unique_ptr<ForeignReaper>> hold =
        ForeignReaper::Open(reaper_);
    if (!hold.ok()) return hold.status();
    return (*hold)->Members();
  }

  absl::StatusOr<std::vector<Member>> Members() const override {
    absl::StatusOr<std::vector<pid_t>> pids = Pids();
    if (!pids.ok()) return pids.status();
    internal::TreeBounds bounds = Bounds(reaper_.leader);
    bounds.adopters = PidsOf(reaper_);
    return internal::DescribeTree(*pids, bounds);
  }

  absl::Status SetFrozen(bool frozen, absl::Duration) override {
    return NeedsCgroup(info(), frozen ? "freezing" : "thawing");
  }

  absl::StatusOr<bool> AwaitEnd(absl::Duration until) override {
    absl::StatusOr<std::unique_ptr<ForeignReaper>> hold =
        ForeignReaper::Open(reaper_);
    if (!hold.ok()) return hold.status();
    return (*hold)->AwaitEnd(until);
  }

  absl::StatusOr<std::unique_ptr<containment::Hold>> MakeHold() override {
    if (geteuid() != 0 && geteuid() != reaper_.uid) {
      return absl::PermissionDeniedError(
          absl::StrCat("cannot end ", info().id));
    }
    return ForeignReaper::Open(reaper_);
  }

  absl::Status Join() override { return NeedsCgroup(info(), "joining it"); }

 private:
  const FoundReaper reaper_;
};

// nullptr: nobody of it is alive.
absl::StatusOr<std::unique_ptr<LiveRun::Impl>> LookAt(FoundReaper reaper) {
  absl::StatusOr<containment::OwnerSight> owner =
      containment::SeeOwner(reaper.tree.owner);
  if (!owner.ok()) return owner.status();
  absl::StatusOr<std::vector<kernel::ProcessStat>> members =
      kernel::ListDescendants(PidsOf(reaper));
  if (!members.ok()) return members.status();
  if (members->empty()) return nullptr;
  LiveRunInfo info = internal::InfoOf(reaper.id, reaper.tree, *owner);
  info.containment = Containment::kSubreaper;
  info.uid = reaper.uid;
  std::sort(members->begin(), members->end(),
            [](const kernel::ProcessStat& a, const kernel::ProcessStat& b) {
              return std::tie(a.start_time, a.pid) <
                     std::tie(b.start_time, b.pid);
            });
  absl::Duration cpu_time;
  for (const kernel::ProcessStat& process : *members) {
    info.pids.push_back(process.pid);
    cpu_time += process.CpuTime();
  }
  for (const kernel::ProcessStat& process : reaper.processes) {
    cpu_time += process.CpuTime();
  }
  info.cpu_time = cpu_time;
  internal::FindLeader(reaper.inner(), reaper.leader, &info);
  return std::make_unique<ReaperRun>(std::move(info), std::move(reaper));
}

}  // namespace

absl::Status internal::FindReaperRuns(RunImpls* found) {
  absl::StatusOr<std::vector<FoundReaper>> reapers = guardian::FindReapers();
  if (!reapers.ok()) return reapers.status();
  for (FoundReaper& reaper : *reapers) {
    absl::StatusOr<std::unique_ptr<LiveRun::Impl>> run =
        LookAt(std::move(reaper));
    if (!run.ok()) return run.status();
    if (*run != nullptr) found->push_back(*std::move(run));
  }
  return absl::OkStatus();
}

}  // namespace treekill
