// The rig that the tests of odd places rely on: each place is what its name
// says, and nothing of it is left, however what runs there or the rig ends.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/escapes.h"
#include "tests/cli/odd_choice.h"
#include "treekill/treekill.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// $cgroup is the own one, as it is to be seen there; `try` says what comes of a
// command.
constexpr char kPrelude[] = R"sh(
  mount=$(findmnt --noheadings --list --output TARGET --types cgroup2)
  cgroup=$mount$(sed -n 's|^0::/*|/|p' /proc/self/cgroup)
  try() {
    local errors
    errors=$("$@" 2>&1) && echo done || echo "${errors##*: }"
  }
  put() {
    echo "$1" >"$2"
  }
  [ -z "$(ls /run)" ] || echo "something is in /run"
)sh";

// What a script prints there and nowhere else.
struct Proof {
  std::string script;
  std::string output;
};

Proof Answers(const std::string& with, const std::string& without,
              const std::string& send_signal) {
  return {"'" + OddSyscallsPath() + "' --ask",
          absl::StrCat("clone3 with room for a cgroup: ", with,
                       "\nclone3 without: ", without,
                       "\npidfd_send_signal: ", send_signal, "\n")};
}

Proof Container(const std::string& pid_one) {
  // This program is in no /proc of another PID namespace.
  return {absl::StrCat("grep ^0 /proc/self/cgroup; try mkdir $cgroup/new; ",
                       "cat /proc/[0-9]*/comm | grep -c odd_machine_tes; ",
                       "echo ", pid_one),
          "0::/\nRead-only file system\n0\n1\n"};
}

const std::map<std::string, Proof>& Proofs() {
  static const auto* const proofs = new std::map<std::string, Proof>{
      {"read-only-cgroupfs",
       {"try mkdir $cgroup/new; try put 0 $cgroup/cgroup.procs",
        "Read-only file system\nRead-only file system\n"}},
      {"no-cgroup2",
       {"grep -c ' - cgroup2 ' /proc/self/mountinfo; echo \"[$mount]\"",
        "0\n[]\n"}},
      {"cgroup-namespace",
       {R"sh(
          grep ^0 /proc/self/cgroup
          try mkdir $cgroup/new
          put 0 $cgroup/new/cgroup.procs
          grep ^0 /proc/self/cgroup
          put 0 $cgroup/cgroup.procs
          try rmdir $cgroup/new
          # The root of all has no such file.
          cat $mount/cgroup.type
        )sh",
        "0::/\ndone\n0::/new\ndone\ndomain\n"}},
      {"user",
       {"id -u; id -G; try mkdir $cgroup/new",
        "65534\n65534\nPermission denied\n"}},
      {"delegated-user",
       {R"sh(
          id -u
          try mkdir $cgroup/new
          try put $$ $cgroup/new/cgroup.procs
          try put $$ $cgroup/cgroup.procs
          try rmdir $cgroup/new
          try put 1 $cgroup/cgroup.kill
          try mkdir $cgroup/../new
        )sh",
        "65534\ndone\ndone\ndone\ndone\nPermission denied\n"
        "Permission denied\n"}},
      {"controllers-enabled",
       {R"sh(
          cd $cgroup
          [ -n "$(cat ../cgroup.subtree_control)" ] && echo above
          [ -z "$(cat cgroup.subtree_control)" ] && echo not here
          cmp cgroup.controllers ../cgroup.subtree_control && echo the same
          # No processes in an inner cgroup.
          try put $$ ../cgroup.procs
        )sh",
        "above\nnot here\nthe same\nDevice or resource busy\n"}},
      {"threaded", {"cat $cgroup/cgroup.type", "threaded\n"}},
      {"max-descendants",
       {"try mkdir $cgroup/new", "Resource temporarily unavailable\n"}},
      {"no-clone3-eperm", Answers("EPERM", "EPERM", "done")},
      {"no-clone3-enosys", Answers("ENOSYS", "ENOSYS", "done")},
      {"no-clone-into-cgroup", Answers("E2BIG", "done", "done")},
      {"no-pidfd-signal", Answers("done", "done", "ENOSYS")},
      {"no-pidfd-signal-eperm", Answers("done", "done", "EPERM")},
      {"container", Container("$PPID")},
      {"container-pid1", Container("$$")},
  };
  return *proofs;
}

class OddMachineTest : public OddPlaceFixture,
                       public testing::WithParamInterface<OddPlace> {
 protected:
  void SetUp() override {
    OddPlaceFixture::SetUp();
    root_ = ProbeHost().mount_point;
    controllers_ = Controllers();
  }

  void TearDown() override {
    OddPlaceFixture::TearDown();
    // Those of another rig go with it.
    EXPECT_TRUE(Eventually([this] {
      return Controllers().size() <= controllers_.size() ||
             !LeftMachines(root_).empty();
    })) << Controllers();
  }

  std::unique_ptr<Program> StartScript(const std::string& script) {
    return Start(In(GetParam(), {"bash", "-c", kPrelude + script}));
  }

  // Or the end of a rig that has no such place.
  void AwaitReady() const {
    EXPECT_TRUE(Eventually([this] {
      return std::filesystem::exists(File("ready")) ||
             MembersOfOwnCgroup().size() == 1;
    }));
  }

  // Its processes end with it, and are nobody's to be seen.
  bool IsPid1() const { return GetParam().kind == "container-pid1"; }

  // Of one rig, wherever it is.
  std::vector<std::string> MachinesOf(pid_t rig) const {
    return LeftMachines(root_, absl::StrCat("odd.", rig, "."));
  }

 private:
  std::string Controllers() const {
    return ReadAll(root_ + "/cgroup.subtree_control");
  }

  std::string root_;
  std::string controllers_;
};

// What every place does by the same code.
class OddMannersTest : public OddMachineTest {};

TEST_P(OddMachineTest, IsWhatItSays) {
  const Proof& proof = Proofs().at(GetParam().kind);
  Outcome outcome = StartScript(proof.script)->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.output, proof.output);
  EXPECT_EQ(outcome.errors, "");
}

TEST_P(OddMannersTest, PassesStatusOn) {
  std::unique_ptr<Program> program = StartScript("exit 3");
  pid_t rig = program->pid();
  Outcome outcome = program->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.exit_code(), 3);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(MachinesOf(rig), IsEmpty());
}

TEST_P(OddMannersTest, PassesSignalsOn) {
  LetOthersIn();
  std::unique_ptr<Program> program =
      StartScript(absl::StrCat("trap 'exit 4' TERM; : >", File("ready"),
                               "; while :; do sleep 0.01; done"));
  AwaitReady();
  program->Signal(SIGTERM);
  Outcome outcome = program->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.exit_code(), 4);
  EXPECT_EQ(outcome.errors, "");
}

TEST_P(OddMannersTest, TellsWhoIsLeft) {
  std::unique_ptr<Program> program =
      StartScript("setsid sleep 1000 >/dev/null 2>&1 & exit 3");
  pid_t rig = program->pid();
  Outcome outcome = program->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.exit_code(), IsPid1() ? 3 : 99);
  if (!IsPid1()) {
    EXPECT_THAT(outcome.errors, HasSubstr("odd_machine: left alive: "));
  }
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  EXPECT_THAT(MachinesOf(rig), IsEmpty());
}

TEST_P(OddMannersTest, TellsWhichCgroupIsLeft) {
  if (!GetParam().Has("nested")) return;
  std::unique_ptr<Program> program = StartScript("mkdir -p $cgroup/a/b");
  pid_t rig = program->pid();
  Outcome outcome = program->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.exit_code(), 99);
  EXPECT_EQ(outcome.errors,
            "odd_machine: left behind: a\nodd_machine: left behind: a/b\n");
  EXPECT_THAT(MachinesOf(rig), IsEmpty());
}

// As when a test has lost patience.
TEST_P(OddMannersTest, LeavesNothingWhenKilled) {
  LetOthersIn();
  std::unique_ptr<Program> program =
      StartScript(absl::StrCat("mkdir $cgroup/a; setsid sleep 1000 & : >",
                               File("ready"), "; exec sleep 1000"));
  pid_t rig = program->pid();
  AwaitReady();
  program->Signal(SIGKILL);
  Outcome outcome = program->Wait();
  TREEKILL_NEEDS_PLACE(outcome);
  EXPECT_EQ(outcome.signal(), SIGKILL);
  EXPECT_THAT(WaitForNobody(cookie(), absl::Seconds(20)), IsEmpty());
  EXPECT_TRUE(Eventually([&] { return MachinesOf(rig).empty(); }));
}

INSTANTIATE_TEST_SUITE_P(All, OddMachineTest, testing::ValuesIn(OddPlaces()),
                         NameOfPlace);
INSTANTIATE_TEST_SUITE_P(Some, OddMannersTest, testing::ValuesIn(OnesOfASort()),
                         NameOfPlace);
INSTANTIATE_TEST_SUITE_P(Thorough, OddMannersTest,
                         testing::ValuesIn(TheOtherOddPlaces()), NameOfPlace);

// Those who enable a controller at a time must not disable it for each other.
class OddMachinesTest : public OddPlaceFixture {};

TEST_F(OddMachinesTest, ShareControllers) {
  const OddPlace place{"controllers-enabled", "", {}};
  std::vector<std::unique_ptr<Program>> programs;
  for (int i = 0; i < 5; ++i) {
    programs.push_back(Start(In(
        place, {"bash", "-c",
                absl::StrCat("sleep 0.", i,
                             "; cgroup=$(findmnt --noheadings --list --output "
                             "TARGET --types cgroup2)$(sed -n 's|^0::||p' "
                             "/proc/self/cgroup); cat $cgroup/../"
                             "cgroup.subtree_control")})));
  }
  for (std::unique_ptr<Program>& program : programs) {
    Outcome outcome = program->Wait();
    TREEKILL_NEEDS_PLACE(outcome);
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_NE(outcome.output, "\n");
    EXPECT_EQ(outcome.errors, "");
  }
}

TEST_F(OddMachinesTest, KnowsItsKinds) {
  Outcome outcome = RunProgram({OddMachinePath(), "--list"});
  std::string kinds;
  for (const OddPlace& place : OddPlaces()) kinds += place.kind + "\n";
  EXPECT_EQ(outcome.output, kinds);
  outcome = RunProgram({OddMachinePath(), "elsewhere", "true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("no kind elsewhere"));
}

TEST_F(OddMachinesTest, SayThatTheyNeedRoot) {
  if (getuid() != 0) return;
  Outcome outcome = RunProgram({OddMachinePath(), "user", "true"}, {}, [] {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(98);
  });
  // A build folder that is closed to others does not let them in.
  if (outcome.exit_code() == 99) return;
  EXPECT_EQ(outcome.exit_code(), 77);
  EXPECT_EQ(outcome.errors,
            "odd_machine: no place of kind user: it needs root\n");
}

}  // namespace
}  // namespace treekill::rig
