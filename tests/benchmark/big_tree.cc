#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/benchmark/bare.h"
#include "tests/benchmark/items.h"
#include "tests/rig/rig.h"
#include "treekill/treekill.h"

namespace treekill::bench {
namespace {

// Makes the same tree again and again.
class Sleepers final {
 public:
  explicit Sleepers(int members)
      : argv_({rig::EscapeePath(), "sleepers",
               absl::StrCat("--count=", members), "--then=stay",
               absl::StrCat("--cookie=", cookie_),
               absl::StrCat("--ready=", ready_)}) {}

  const std::vector<std::string>& argv() const { return argv_; }
  const std::string& cookie() const { return cookie_; }

  absl::Status AwaitReady() const {
    if (!rig::Eventually([&] { return access(ready_.c_str(), F_OK) == 0; },
                         absl::Seconds(60))) {
      return absl::DeadlineExceededError("the sleepers are not ready");
    }
    unlink(ready_.c_str());
    // Until the last one sleeps, and the dead of the tree before are reaped.
    absl::SleepFor(absl::Milliseconds(100));
    return absl::OkStatus();
  }

 private:
  rig::TempDir directory_;
  std::string ready_ = directory_.File("ready");
  std::string cookie_ = rig::NewCookie();
  std::vector<std::string> argv_;
};

absl::StatusOr<double> EndByLibrary(const Sleepers& sleepers,
                                    Supervisor& supervisor) {
  absl::StatusOr<Tree> tree = supervisor.Spawn({.argv = sleepers.argv()});
  if (!tree.ok()) return tree.status();
  absl::Status ready = sleepers.AwaitReady();
  if (!ready.ok()) return ready;
  double start = NowMs();
  absl::Status killed = tree->Kill();
  absl::StatusOr<bool> ended = tree->Wait();
  double end = NowMs();
  if (!killed.ok()) return killed;
  if (!ended.ok()) return ended.status();
  const TreeReport& report = tree->report();
  if (report.drained && report.errors.empty()) return end - start;
  return absl::UnknownError(ReportToJson(report, 0));
}

absl::StatusOr<double> EndBare(const Sleepers& sleepers,
                               const std::string& parent) {
  std::vector<const char*> argv;
  for (const std::string& word : sleepers.argv()) argv.push_back(word.c_str());
  argv.push_back(nullptr);
  BareCgroup cgroup;
  absl::Status status = cgroup.Make(parent);
  if (status.ok()) {
    status = cgroup.Start(argv[0], argv.data(), Memory::kShared);
  }
  if (status.ok()) status = sleepers.AwaitReady();
  if (!status.ok()) return status;
  double start = NowMs();
  status = cgroup.Kill();
  if (status.ok()) status = cgroup.AwaitEmpty();
  if (status.ok()) status = cgroup.Reap(-SIGKILL);
  if (status.ok()) status = cgroup.Remove();
  double end = NowMs();
  if (!status.ok()) return status;
  return end - start;
}

}  // namespace

void MeasureBigTree(const Sizes& sizes, Results& results) {
  absl::StatusOr<Supervisor> supervisor =
      Supervisor::Create({.containment = Containment::kCgroup});
  if (!supervisor.ok()) {
    results.Check(3, "Supervisor", false, supervisor.status().ToString());
    return;
  }
  Sleepers sleepers(sizes.tree_members);
  std::string parent = rig::OwnCgroup();
  std::string members = absl::StrCat(", ", sizes.tree_members, " sleepers");
  results.Compare({.item = 3,
                   .measured = absl::StrCat("Kill, Wait", members),
                   .against = "bare cgroup.kill, poll, waitid, rmdir",
                   .target = 1.10},
                  Interleave(
                      sizes.tree_rounds,
                      [&] { return EndByLibrary(sleepers, *supervisor); },
                      [&] { return EndBare(sleepers, parent); }));
  std::vector<pid_t> left =
      rig::WaitForNobody(sleepers.cookie(), absl::Seconds(2));
  results.Check(3, "no sleeper is left", left.empty(),
                absl::StrCat(left.size(), " left"));
}

}  // namespace treekill::bench
