#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/bare.h"
#include "tests/benchmark/items.h"
#include "tests/benchmark/launch.h"
#include "tests/rig/rig.h"
#include "treekill/treekill.h"

namespace treekill::bench {
namespace {

constexpr char kTrue[] = "/bin/true";
constexpr const char* kTrueArgv[] = {kTrue, nullptr};
constexpr double kTarget = 1.15;
constexpr char kPlain[] = "posix_spawn, waitpid";

absl::Status SpawnAndWait(Supervisor& supervisor) {
  absl::StatusOr<Tree> tree = supervisor.Spawn(Command{.argv = {kTrue}});
  if (!tree.ok()) return tree.status();
  absl::StatusOr<bool> ended = tree->Wait();
  if (!ended.ok()) return ended.status();
  const TreeReport& report = tree->report();
  bool well =
      report.drained && report.errors.empty() && report.status.success();
  return well ? absl::OkStatus() : absl::UnknownError(ReportToJson(report, 0));
}

absl::Status RunBare(const std::string& parent, Memory memory) {
  BareCgroup cgroup;
  absl::Status status = cgroup.Make(parent);
  if (status.ok()) status = cgroup.Start(kTrue, kTrueArgv, memory);
  if (status.ok()) status = cgroup.Reap(0);
  if (status.ok()) status = cgroup.AwaitEmpty();
  return status.ok() ? cgroup.Remove() : status;
}

absl::Status RunBareAgain(BareCgroup& cgroup) {
  absl::Status status = cgroup.Start(kTrue, kTrueArgv, Memory::kShared);
  if (status.ok()) status = cgroup.Reap(0);
  return status.ok() ? cgroup.AwaitEmpty() : status;
}

// The ways to run a command that are measured in more than one host.
class Ways final {
 public:
  explicit Ways(int rounds) : rounds_(rounds) {}

  absl::StatusOr<Pairs> Library(Containment containment) {
    absl::StatusOr<Supervisor> supervisor =
        Supervisor::Create({.containment = containment});
    if (!supervisor.ok()) return supervisor.status();
    return Interleave(rounds_, Timed([&] { return SpawnAndWait(*supervisor); }),
                      Plain());
  }

  absl::StatusOr<Pairs> Bare(Memory memory) {
    return Interleave(rounds_, TimeOfBare(memory), Plain());
  }

  absl::StatusOr<Pairs> LibraryAgainstBare() {
    absl::StatusOr<Supervisor> supervisor =
        Supervisor::Create({.containment = Containment::kCgroup});
    if (!supervisor.ok()) return supervisor.status();
    return Interleave(rounds_, Timed([&] { return SpawnAndWait(*supervisor); }),
                      TimeOfBare(Memory::kShared));
  }

  absl::StatusOr<Pairs> BareReused() {
    BareCgroup cgroup;
    absl::Status made = cgroup.Make(parent_);
    if (!made.ok()) return made;
    absl::StatusOr<Pairs> pairs = Interleave(
        rounds_, Timed([&] { return RunBareAgain(cgroup); }), Plain());
    absl::Status removed = cgroup.Remove();
    return removed.ok() ? pairs : removed;
  }

 private:
  Sample Plain() {
    return Timed([this] { return launch_.Run(); });
  }
  Sample TimeOfBare(Memory memory) {
    return Timed([this, memory] { return RunBare(parent_, memory); });
  }

  const int rounds_;
  const std::string parent_ = rig::OwnCgroup();
  const Launch launch_{{kTrue}, Launch::Streams::kInherit};
};

// Without it one page table entry would stand for 512 pages, and a copy of them
// would cost next to nothing.
bool TouchMemory(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < bytes; i += page) {
    static_cast<volatile char*>(memory)[i] = 1;
  }
  return true;
}

bool Transfer(int fd, void* data, size_t size, bool writing) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    ssize_t moved = writing ? write(fd, next, size) : read(fd, next, size);
    if (moved <= 0) return false;
    next += moved;
    size -= static_cast<size_t>(moved);
  }
  return true;
}

// Measures in a child process that has touched so much memory, so that nothing
// else is measured with it. Its errors go to standard error.
absl::StatusOr<Pairs> InHostOf(
    size_t bytes, const std::function<absl::StatusOr<Pairs>()>& measure) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return absl::ErrnoToStatus(errno, "pipe2");
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || !TouchMemory(bytes)) _exit(2);
    absl::StatusOr<Pairs> pairs = measure();
    if (!pairs.ok()) fprintf(stderr, "%s\n", pairs.status().ToString().c_str());
    if (!pairs.ok()) _exit(absl::IsCancelled(pairs.status()) ? 3 : 1);
    size_t count = pairs->measured.size();
    bool sent =
        Transfer(ends[1], &count, sizeof(count), true) &&
        Transfer(ends[1], pairs->measured.data(), count * sizeof(double),
                 true) &&
        Transfer(ends[1], pairs->against.data(), count * sizeof(double), true);
    _exit(sent ? 0 : 1);
  }
  close(ends[1]);
  Pairs pairs;
  size_t count = 0;
  if (Transfer(ends[0], &count, sizeof(count), false)) {
    for (std::vector<double>* samples : {&pairs.measured, &pairs.against}) {
      samples->resize(count);
      (void)Transfer(ends[0], samples->data(), count * sizeof(double), false);
    }
  }
  close(ends[0]);
  int wait_status = 0;
  waitpid(pid, &wait_status, 0);
  if (wait_status == 0) return pairs;
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 3) {
    return absl::CancelledError("stopped by a signal");
  }
  bool short_of_memory =
      WIFSIGNALED(wait_status) || WEXITSTATUS(wait_status) == 2;
  return short_of_memory
             ? absl::ResourceExhaustedError("memory is short")
             : absl::UnknownError("the host with touched memory failed");
}

bool HaveMemory(size_t bytes) {
  std::ifstream meminfo("/proc/meminfo");
  std::string name;
  size_t kib = 0;
  while (meminfo >> name >> kib && name != "MemAvailable:") {
    meminfo.ignore(80, '\n');
  }
  constexpr size_t kReserve = size_t{512} << 20;
  return name == "MemAvailable:" && kib * 1024 > bytes + kReserve;
}

}  // namespace

void MeasureLibrary(const Sizes& sizes, Results& results) {
  Ways ways(sizes.rounds);
  auto compare = [&](std::string measured, std::string against,
                     std::optional<double> target,
                     const absl::StatusOr<Pairs>& pairs) {
    results.Compare({.item = 2,
                     .measured = std::move(measured),
                     .against = std::move(against),
                     .target = target},
                    pairs);
  };
  auto library = [&] { return ways.Library(Containment::kCgroup); };
  auto bare = [&] { return ways.Bare(Memory::kShared); };
  compare("Spawn, Wait", kPlain, kTarget, library());
  std::string host = absl::StrCat(", host of ", sizes.host_bytes >> 20, " MiB");
  bool have_memory = HaveMemory(sizes.host_bytes);
  absl::StatusOr<Pairs> in_host = absl::ResourceExhaustedError("");
  if (have_memory) in_host = InHostOf(sizes.host_bytes, library);
  if (absl::IsResourceExhausted(in_host.status())) {
    results.Note(2, absl::StrCat("skipped: memory is short for a", host));
  } else {
    compare(absl::StrCat("Spawn, Wait", host), absl::StrCat(kPlain, host),
            kTarget, in_host);
    compare(absl::StrCat("bare fresh cgroup", host), absl::StrCat(kPlain, host),
            std::nullopt, InHostOf(sizes.host_bytes, bare));
  }
  compare("floor: bare fresh cgroup, CLONE_VM", kPlain, std::nullopt, bare());
  compare("bare fresh cgroup, memory copied", kPlain, std::nullopt,
          ways.Bare(Memory::kCopied));
  compare("bare cgroup reused, CLONE_VM", kPlain, std::nullopt,
          ways.BareReused());
  compare("Spawn, Wait", "bare fresh cgroup, CLONE_VM", std::nullopt,
          ways.LibraryAgainstBare());
  compare("Spawn, Wait, containment process", kPlain, std::nullopt,
          ways.Library(Containment::kProcess));
}

}  // namespace treekill::bench
