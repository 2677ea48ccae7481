// Calls into the kernel that fail, one after the other: treekill says which,
// where and why, exits with 125 where it could not do what it promises, and
// leaves nothing behind either way.
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/pidfd.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr char kFaults[] = "TREEKILL_FAULTS";

struct Fault {
  std::string plan;
  // All of these stand in the one line of the message.
  std::vector<std::string> message;
};

// The errors that the kernel can really answer with, for any call.
const std::pair<const char*, const char*> kErrors[] = {
    {"ENOSYS", "Function not implemented"},
    {"EPERM", "Operation not permitted"},
    {"EBUSY", "Device or resource busy"},
    {"EACCES", "Permission denied"},
    {"EAGAIN", "Resource temporarily unavailable"},
    {"ENOSPC", "No space left on device"},
    {"EMFILE", "Too many open files"}};

class FaultTest : public CliTest {
 protected:
  Outcome Run(const std::string& plan, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {TreekillWithFaultsPath(), "run"});
    std::map<std::string, std::string> variables = environment();
    variables[kFaults] = plan;
    return RunProgram(arguments, variables);
  }

  // A command that leaves a process which ignores TERM behind.
  Outcome RunLeaking(const std::string& plan) {
    return Run(plan, {"-k", "20ms", "--", "bash", "-c",
                      "trap '' TERM; setsid sleep 60 & exit 0"});
  }

  void ExpectNothingLeft() {
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    KillByCookie(cookie());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
  }

  void ExpectOneLine(const Outcome& outcome,
                     const std::vector<std::string>& parts) {
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_EQ(outcome.errors.find('\n'), outcome.errors.size() - 1)
        << outcome.errors;
    for (const std::string& part : parts) {
      EXPECT_THAT(outcome.errors, HasSubstr(part));
    }
  }

  // The command must not have been run at all.
  void ExpectRefusal(const Fault& fault) {
    SCOPED_TRACE(fault.plan);
    std::string trace = File("trace");
    Outcome outcome = Run(fault.plan, {"--require=cgroup", "touch", trace});
    EXPECT_EQ(outcome.exit_code(), 125);
    ExpectOneLine(outcome, fault.message);
    EXPECT_FALSE(std::filesystem::exists(trace));
    ExpectNothingLeft();
  }
};

// As old kernels and seccomp filters answer.
bool MeansNoSuchCall(const std::string& error) {
  return error == "ENOSYS" || error == "EPERM";
}

TEST_F(FaultTest, Clone3) {
  for (const auto& [name, text] : kErrors) {
    if (MeansNoSuchCall(name)) continue;
    ExpectRefusal({absl::StrCat("clone3@cgroup:", name),
                   {"touch", OwnCgroup(), "treekill-", "clone3: ", text}});
  }
}

TEST_F(FaultTest, Mkdir) {
  for (const auto& [name, text] : kErrors) {
    ExpectRefusal({absl::StrCat("mkdir:", name),
                   {OwnCgroup(), "treekill-", "mkdir: ", text}});
  }
}

TEST_F(FaultTest, OpenBeforeTheStart) {
  for (const char* path : {"cgroup.kill", "cgroup.events",
                           "/proc/self/mountinfo", "/proc/self/cgroup"}) {
    for (const auto& [name, text] : kErrors) {
      ExpectRefusal(
          {absl::StrCat("open@", path, ":", name), {path, "open: ", text}});
    }
  }
}

TEST_F(FaultTest, AnyOpenAtAll) {
  ExpectRefusal({"open:EMFILE", {"/proc/", "open: ", "Too many open files"}});
}

// In the cgroup all the same.
TEST_F(FaultTest, CallsThatAreNotThereAreDoneWithout) {
  for (const char* plan :
       {"clone3:ENOSYS", "clone3:EPERM", "clone3@cgroup:EINVAL",
        "clone3@cgroup:E2BIG", "open@cgroup.kill:ENOENT",
        "open@cgroup.kill:ENOENT clone3:ENOSYS pidfd_send_signal:ENOSYS",
        "open@cgroup.kill:ENOENT open@cgroup.freeze:ENOENT"}) {
    SCOPED_TRACE(plan);
    Outcome outcome = Run(plan, {"--require=cgroup", "-k", "20ms", "bash", "-c",
                                 "trap '' TERM; setsid sleep 60 & "
                                 "exec -a x sleep 0.1"});
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    ExpectNothingLeft();
  }
}

// The first one is the guardian.
TEST_F(FaultTest, NeitherClone3NorClone) {
  ExpectRefusal({"clone3:ENOSYS clone:EAGAIN:1:1",
                 {"touch", OwnCgroup(), "clone: Resource temporarily",
                  "a limit on the number of processes"}});
}

// Less is taken, and said; it holds all the same.
TEST_F(FaultTest, NoCgroupIsASubreaper) {
  for (const char* plan :
       {"mkdir:EACCES", "mkdir:EROFS", "mkdir:EAGAIN", "mkdir:ENOSPC",
        "clone3@cgroup:EOPNOTSUPP", "clone3@cgroup:EACCES",
        "open@/proc/self/cgroup:EACCES", "open@cgroup.events:EACCES"}) {
    SCOPED_TRACE(plan);
    Outcome outcome =
        Run(plan, {"-k", "20ms", absl::StrCat("--report=", File("report")),
                   "bash", "-c", "trap '' TERM; setsid sleep 60 & exit 3"});
    EXPECT_EQ(outcome.exit_code(), 3);
    ExpectOneLine(outcome, {"held by a subreaper, not by a cgroup: ",
                            "--require=cgroup refuses to start so"});
    EXPECT_THAT(Read("report"), HasSubstr("\"containment\":\"subreaper\""));
    ExpectNothingLeft();
  }
}

TEST_F(FaultTest, EventsBeforeTheStart) {
  for (const char* call :
       {"epoll_create", "epoll_ctl", "timerfd_create", "prctl"}) {
    ExpectRefusal({absl::StrCat(call, ":EMFILE"),
                   {absl::StrCat(call, ": "), "Too many open files"}});
  }
}

TEST_F(FaultTest, ReadBeforeTheStart) {
  ExpectRefusal({"read@/proc/self/mountinfo:EACCES",
                 {"/proc/self/mountinfo", "read: ", "Permission denied"}});
}

// The leader has been born by then, and must not live on.
TEST_F(FaultTest, EventsAfterTheLeaderIsBorn) {
  for (const char* plan : {"epoll_wait:EBADF", "timerfd_settime:EINVAL"}) {
    SCOPED_TRACE(plan);
    Outcome outcome =
        Run(plan, {"--timeout", "500ms", "bash", "-c", "sleep 60 & sleep 60"});
    EXPECT_EQ(outcome.exit_code(), 125);
    ExpectOneLine(outcome, {": "});
    ExpectNothingLeft();
  }
}

TEST_F(FaultTest, SignalsThatCannotBeSent) {
  for (const char* call : {"pidfd_open", "pidfd_send_signal"}) {
    for (const auto& [name, text] : kErrors) {
      SCOPED_TRACE(absl::StrCat(call, ":", name));
      Outcome outcome = RunLeaking(absl::StrCat(call, ":", name));
      // There is kill(2).
      bool expected =
          call == std::string("pidfd_send_signal") && MeansNoSuchCall(name);
      EXPECT_EQ(outcome.exit_code(), expected ? 0 : 125);
      if (!expected) ExpectOneLine(outcome, {absl::StrCat(call, ": "), text});
      ExpectNothingLeft();
    }
  }
}

TEST_F(FaultTest, KillFileThatCannotBeWritten) {
  for (const auto& [name, text] : kErrors) {
    SCOPED_TRACE(name);
    Outcome outcome = RunLeaking(absl::StrCat("write@cgroup.kill:", name));
    EXPECT_EQ(outcome.exit_code(), 125);
    ExpectOneLine(outcome, {OwnCgroup(), "/cgroup.kill", "write: ", text});
    ExpectNothingLeft();
  }
}

TEST_F(FaultTest, FreezerThatCannotBeWritten) {
  Outcome outcome = RunLeaking("write@cgroup.freeze:EPERM");
  EXPECT_EQ(outcome.exit_code(), 125);
  ExpectOneLine(outcome, {"/cgroup.freeze", "write: "});
  ExpectNothingLeft();
}

TEST_F(FaultTest, MembersThatCannotBeListed) {
  Outcome outcome = RunLeaking("open@cgroup.procs:EMFILE");
  EXPECT_EQ(outcome.exit_code(), 125);
  ExpectOneLine(outcome, {OwnCgroup(), "cgroup.procs", "open: "});
  ExpectNothingLeft();
}

TEST_F(FaultTest, EventsFileThatCannotBeRead) {
  Outcome outcome = RunLeaking("read@cgroup.events:EIO");
  EXPECT_EQ(outcome.exit_code(), 125);
  ExpectOneLine(outcome, {OwnCgroup(), "cgroup.events", "read: "});
  ExpectNothingLeft();
}

// ENODEV says that the cgroup has gone. Once in the middle of things, it must
// not be believed for more than that one read.
TEST_F(FaultTest, CgroupThatSeemsToGoWhileItIsRead) {
  // Where the kernel does not say whose cgroup is which (PIDFD_GET_INFO), the
  // first ones that are read are treekill's own: when it looks what there is,
  // and where to put the command.
  absl::StatusOr<kernel::UniqueFd> self = kernel::OpenPidfd(getpid());
  ASSERT_TRUE(self.ok()) << self.status();
  int own = kernel::CgroupIdOf(self->get()).has_value() ? 0 : 2;
  for (const std::string& plan :
       {absl::StrCat("read@cgroup.procs:ENODEV:-1:", own),
        absl::StrCat("read@cgroup.procs:ENODEV:1:", own),
        std::string("read@cgroup.events:ENODEV:1"),
        std::string("read@cgroup.events:ENODEV")}) {
    SCOPED_TRACE(plan);
    Outcome outcome = RunLeaking(plan);
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    ExpectNothingLeft();
  }
}

TEST_F(FaultTest, RmdirThatIsBusyForAWhile) {
  for (const char* plan : {"rmdir:EBUSY:5", "rmdir:ENOTEMPTY:5"}) {
    SCOPED_TRACE(plan);
    Outcome outcome = Run(plan, {"true"});
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_EQ(outcome.errors, "");
    ExpectNothingLeft();
  }
}

TEST_F(FaultTest, RmdirThatStaysBusyIsReported) {
  Set("TREEKILL_LIMITS", "drain:200ms");
  Outcome outcome = Run("rmdir:EBUSY", {"true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  ExpectOneLine(outcome, {OwnCgroup(), "treekill-", "rmdir: ", "busy"});
  // It cannot be removed, and so it is there, without a process in it.
  EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
  ASSERT_EQ(LeftLeaves().size(), 1u);
  EXPECT_EQ(rmdir(LeftLeaves()[0].c_str()), 0);
}

TEST_F(FaultTest, StatusThatCannotBeHad) {
  Outcome outcome = Run("waitid:EPERM", {"true"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("waitid: Operation not permitted"));
  ExpectNothingLeft();
}

// Who cannot be kept is ended, as without the option, and it is said why.
TEST_F(FaultTest, WhoCannotBeKept) {
  for (const char* plan : {"write@cgroup.procs:EPERM", "setxattr:EOPNOTSUPP"}) {
    SCOPED_TRACE(plan);
    Outcome outcome =
        Run(plan, {"--keep=sleep", "bash", "-c",
                   "sleep 60 & until [ \"$(cat /proc/$!/comm)\" = sleep ]; do "
                   ":; done; exit 0"});
    EXPECT_EQ(outcome.exit_code(), 125);
    ExpectOneLine(outcome, {"cannot keep what outlived the command: "});
    ExpectNothingLeft();
  }
  Outcome outcome = Run("setxattr:EOPNOTSUPP",
                        {"--on-leak=keep", "sh", "-c", "sleep 60 & exit 0"});
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.errors, HasSubstr("cannot keep what outlived"));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace treekill::rig
