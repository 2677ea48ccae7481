// The places that tests/rig/odd_machine makes, what treekill can do in each,
// and what every test that goes there shares.
#ifndef TREEKILL_TESTS_CLI_ODD_PLACES_H_
#define TREEKILL_TESTS_CLI_ODD_PLACES_H_

#include <sys/stat.h>

#include <filesystem>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {

// Skips the test where that place cannot be had; where the environment says
// TREEKILL_REQUIRE_CGROUP=1, that is a failure instead.
#define TREEKILL_NEEDS_PLACE(outcome)                                    \
  do {                                                                   \
    if ((outcome).exit_code() != 77) break;                              \
    if (!absl::StartsWith((outcome).errors, "odd_machine: no ")) break;  \
    if (::treekill::rig::CgroupIsRequired()) FAIL() << (outcome).errors; \
    GTEST_SKIP() << (outcome).errors;                                    \
  } while (false)

// A mode of escapee that is not to be had there.
struct Lack {
  std::string mode;
  // What escapee says of it.
  std::string reason;
};

struct OddPlace {
  std::string kind;
  // What `treekill run` holds its processes with there.
  std::string containment;
  std::vector<Lack> lacks;

  bool Has(std::string_view mode) const {
    for (const Lack& lack : lacks) {
      if (lack.mode == mode) return false;
    }
    return true;
  }
  bool HasOrdinaryUser() const {
    return kind == "user" || kind == "delegated-user";
  }
};

inline void PrintTo(const OddPlace& place, std::ostream* out) {
  *out << place.kind;
}

inline std::vector<Lack> NoCgroupCanBeMade(const std::string& why) {
  return {{"frozen", why}, {"nested", why}, {"nested-locked", why}};
}

// Nor can the own one be left.
inline std::vector<Lack> NoCgroupIsWritable(const std::string& why,
                                            const std::string& why_not_leave) {
  std::vector<Lack> lacks = NoCgroupCanBeMade(why);
  lacks.push_back({"migrate", why_not_leave});
  return lacks;
}

inline const std::vector<OddPlace>& OddPlaces() {
  constexpr char kReadOnly[] = "Read-only file system";
  constexpr char kDenied[] = "Permission denied";
  constexpr char kUnseen[] = "no cgroup2 mount shows the own cgroup";
  constexpr char kRoot[] = "the own cgroup is a root";
  // The C library starts threads with clone3 as well, in a structure with room
  // for a cgroup, and does without only after ENOSYS.
  const Lack no_threads_eperm = {"threads", "Operation not permitted"};
  const Lack no_threads_e2big = {"threads", "Argument list too long"};
  static const auto* const places = new std::vector<OddPlace>{
      {"read-only-cgroupfs", "subreaper",
       NoCgroupIsWritable(kReadOnly, kReadOnly)},
      {"no-cgroup2", "subreaper", NoCgroupIsWritable(kUnseen, kUnseen)},
      {"cgroup-namespace", "cgroup", {}},
      {"user", "subreaper", NoCgroupIsWritable(kDenied, kDenied)},
      {"delegated-user", "cgroup", {}},
      {"controllers-enabled", "cgroup", {}},
      // One can be made, but not be joined.
      {"threaded", "subreaper", NoCgroupCanBeMade("Operation not supported")},
      {"max-descendants", "subreaper",
       NoCgroupCanBeMade("Resource temporarily unavailable")},
      {"no-clone3-eperm", "cgroup", {no_threads_eperm}},
      {"no-clone3-enosys", "cgroup", {}},
      {"no-clone-into-cgroup", "cgroup", {no_threads_e2big}},
      {"no-pidfd-signal", "cgroup", {}},
      {"no-pidfd-signal-eperm", "cgroup", {}},
      {"container", "subreaper", NoCgroupIsWritable(kReadOnly, kRoot)},
      {"container-pid1", "subreaper", NoCgroupIsWritable(kReadOnly, kRoot)},
  };
  return *places;
}

class OddPlaceFixture : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    mounts_ = ReadAll("/proc/self/mountinfo");
  }

  void TearDown() override {
    CliTest::TearDown();
    EXPECT_EQ(ReadAll("/proc/self/mountinfo"), mounts_);
    EXPECT_THAT(LeftMachines(OwnCgroup()), testing::IsEmpty());
  }

  // The program as whoever is in that place can run it: the build folder may be
  // closed to others.
  std::string ProgramFor(const OddPlace& place, const std::string& program) {
    if (!place.HasOrdinaryUser()) return program;
    LetOthersIn();
    return CopyOf(program);
  }

  static Arguments In(const OddPlace& place, Arguments argv) {
    argv.insert(argv.begin(), {OddMachinePath(), place.kind});
    return argv;
  }

  // Cgroups that the rig has made below that one and not removed, of one rig or
  // of any.
  static std::vector<std::string> LeftMachines(
      const std::string& below, const std::string& prefix = "odd.") {
    namespace fs = std::filesystem;
    std::vector<std::string> found;
    std::error_code error;
    fs::recursive_directory_iterator entries(
        below, fs::directory_options::skip_permission_denied, error);
    for (; !error && entries != fs::end(entries); entries.increment(error)) {
      if (absl::StartsWith(entries->path().filename().string(), prefix)) {
        found.push_back(entries->path());
      }
    }
    return found;
  }

 private:
  std::string mounts_;
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_ODD_PLACES_H_
