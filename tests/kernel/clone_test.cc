#include "treekill/kernel/clone.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <sstream>
#include <thread>

#include "tests/kernel/fixture.h"
#include "treekill/kernel/pidfd.h"
#include "treekill/kernel/proc.h"

namespace treekill::kernel {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Values;

// A ChildPlan that owns what it points to.
struct Recipe {
  explicit Recipe(std::vector<std::string> words) : argv(std::move(words)) {
    paths = {argv[0]};
  }

  absl::StatusOr<Child> Start(CloneForm form, int cgroup = -1) {
    auto pointers = [](const std::vector<std::string>& strings) {
      std::vector<const char*> list;
      for (const std::string& text : strings) list.push_back(text.c_str());
      list.push_back(nullptr);
      return list;
    };
    std::vector<const char*> arguments = pointers(argv);
    std::vector<const char*> candidates = pointers(paths);
    std::vector<const char*> variables = pointers(environment);
    std::vector<const char*> shell = {"/bin/sh", nullptr};
    shell.insert(shell.end(), arguments.begin() + 1, arguments.end());
    plan.argv = arguments.data();
    plan.paths = candidates.data();
    plan.envp = variables.data();
    plan.shell_argv = shell.data();
    plan.fds = fds.data();
    plan.fd_count = static_cast<int>(fds.size());
    plan.limits = limits.data();
    plan.limit_count = static_cast<int>(limits.size());
    return Clone(plan, cgroup, form);
  }

  std::vector<std::string> argv;
  std::vector<std::string> paths;
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin"};
  std::vector<FdMove> fds;
  std::vector<ChildLimit> limits;
  ChildPlan plan;
};

Recipe Sleeper() { return Recipe({"/bin/sleep", "600"}); }

std::string StatusField(pid_t pid, const std::string& field) {
  std::istringstream text(rig::ReadAll(absl::StrCat("/proc/", pid, "/status")));
  for (std::string line; std::getline(text, line);) {
    if (line.rfind(field + ":\t", 0) == 0) return line.substr(field.size() + 2);
  }
  return "";
}

constexpr char kNone[] = "0000000000000000";
std::string Signals(std::initializer_list<int> signals) {
  uint64_t set = 0;
  for (int signal : signals) set |= SignalBit(signal);
  return absl::StrCat(absl::Hex(set, absl::kZeroPad16));
}

class CloneTest : public KernelTest,
                  public ::testing::WithParamInterface<CloneForm> {
 protected:
  void TearDown() override {
    for (const Child& child : children_) {
      EXPECT_TRUE(SendSignal(child.pidfd.get(), child.pid, SIGKILL).ok());
      EXPECT_TRUE(ReapChild(child.pidfd.get()).ok());
    }
    children_.clear();
    KernelTest::TearDown();
  }

  // Returns the pid of a child that has been executed.
  pid_t Start(Recipe recipe, int cgroup = -1) {
    absl::StatusOr<Child> child = recipe.Start(GetParam(), cgroup);
    EXPECT_TRUE(child.ok()) << child.status();
    if (!child.ok()) return -1;
    EXPECT_EQ(child->failure.stage, ChildStage::kNone)
        << strerror(child->failure.error);
    if (child->failure.stage != ChildStage::kNone) return -1;
    children_.push_back(*std::move(child));
    return children_.back().pid;
  }

  ChildFailure Fail(Recipe recipe) {
    absl::StatusOr<Child> child = recipe.Start(GetParam());
    EXPECT_TRUE(child.ok()) << child.status();
    if (!child.ok()) return {};
    EXPECT_EQ(waitpid(child->pid, nullptr, WNOHANG), -1) << "not reaped";
    return child->failure;
  }

  // Runs it to its end.
  ChildEnd Run(Recipe recipe) {
    Start(std::move(recipe));
    if (children_.empty()) return {};
    Child child = std::move(children_.back());
    children_.pop_back();
    EXPECT_TRUE(IsReadable(child.pidfd.get(), absl::Seconds(60)));
    absl::StatusOr<std::optional<ChildEnd>> end =
        PollChildEnd(child.pidfd.get(), /*reap=*/true);
    return end.ok() && end->has_value() ? **end : ChildEnd();
  }

  std::string Make(const std::string& name, const std::string& text,
                   mode_t mode) {
    std::string path = directory_.File(name);
    rig::WriteAll(path, text);
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

  rig::TempDir directory_;
  std::vector<Child> children_;
};

INSTANTIATE_TEST_SUITE_P(Forms, CloneTest,
                         Values(CloneForm::kSharedMemory, CloneForm::kCopy),
                         [](const auto& info) {
                           return info.param == CloneForm::kCopy
                                      ? "Copy"
                                      : "SharedMemory";
                         });

void ExpectFailure(const ChildFailure& failure, ChildStage stage, int error) {
  EXPECT_EQ(failure.stage, stage);
  EXPECT_EQ(failure.error, error) << strerror(failure.error);
}

TEST_P(CloneTest, IsTheProgramOnceItHasExeced) {
  pid_t pid = Start(Sleeper());
  std::string program;
  // An exec lets the parent go on a moment before its memory is the new one.
  rig::Eventually([&] {
    std::error_code error;
    program = std::filesystem::read_symlink(absl::StrCat("/proc/", pid, "/exe"),
                                            error);
    return absl::EndsWith(program, "/sleep");
  });
  EXPECT_THAT(program, EndsWith("/sleep"));
  EXPECT_EQ(StatusField(pid, "PPid"), absl::StrCat(getpid()));
}

TEST_P(CloneTest, ArgumentsAndEnvironmentArrive) {
  Recipe recipe(
      {"/bin/sh", "-c", "test \"$0|$1|$A\" = 'zero||x y'", "zero", ""});
  recipe.environment = {"A=x y"};
  EXPECT_EQ(Run(std::move(recipe)).value, 0);
}

TEST_P(CloneTest, IsBornInTheCgroup) {
  absl::StatusOr<Cgroup> parent = Cgroup::Open(own());
  ASSERT_TRUE(parent.ok());
  absl::StatusOr<Cgroup> leaf = parent->MakeChild("leaf");
  ASSERT_TRUE(leaf.ok());
  pid_t pid = Start(Sleeper(), leaf->fd());
  EXPECT_THAT(leaf->Members().value().pids, ElementsAre(pid));
}

TEST_P(CloneTest, ACgroupThatHasGoneIsAnErrorAndNoProcess) {
  absl::StatusOr<Cgroup> parent = Cgroup::Open(own());
  absl::StatusOr<Cgroup> leaf = parent->MakeChild("leaf");
  ASSERT_TRUE(parent->RemoveChild("leaf").ok());
  absl::Status status = Sleeper().Start(GetParam(), leaf->fd()).status();
  EXPECT_EQ(CallOf(status), "clone3") << status;
  EXPECT_THAT(ErrnoOf(status), AnyOf(ENODEV, ENOENT)) << status;
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_P(CloneTest, NothingToExecute) {
  ExpectFailure(Fail(Recipe({"/no/such/program"})), ChildStage::kExec, ENOENT);
  ExpectFailure(Fail(Recipe({"/dev/null/program"})), ChildStage::kExec,
                ENOTDIR);
}

TEST_P(CloneTest, NothingThatMayBeExecuted) {
  ExpectFailure(Fail(Recipe({Make("plain", "#!/bin/sh\n", 0644)})),
                ChildStage::kExec, EACCES);
  ExpectFailure(Fail(Recipe({directory_.path()})), ChildStage::kExec, EACCES);
}

TEST_P(CloneTest, AMissingInterpreter) {
  ExpectFailure(Fail(Recipe({Make("script", "#!/no/such/shell\n", 0755)})),
                ChildStage::kExec, ENOENT);
}

TEST_P(CloneTest, AProgramThatIsBeingWritten) {
  std::string program = Make("busy", "#!/bin/sh\n", 0755);
  int writer = open(program.c_str(), O_WRONLY | O_CLOEXEC);
  ExpectFailure(Fail(Recipe({program})), ChildStage::kExec, ETXTBSY);
  close(writer);
}

TEST_P(CloneTest, ArgumentsThatAreTooLong) {
  ExpectFailure(Fail(Recipe({"/bin/true", std::string(1 << 20, 'x')})),
                ChildStage::kExec, E2BIG);
}

TEST_P(CloneTest, AWorkingDirectory) {
  Recipe recipe = Sleeper();
  recipe.plan.working_directory = directory_.path().c_str();
  pid_t pid = Start(std::move(recipe));
  std::error_code error;
  EXPECT_EQ(
      std::filesystem::read_symlink(absl::StrCat("/proc/", pid, "/cwd"), error),
      directory_.path());
}

TEST_P(CloneTest, AWorkingDirectoryThatIsNone) {
  Recipe recipe = Sleeper();
  recipe.plan.working_directory = "/no/such/directory";
  ExpectFailure(Fail(recipe), ChildStage::kWorkingDirectory, ENOENT);
  recipe.plan.working_directory = "/dev/null";
  ExpectFailure(Fail(recipe), ChildStage::kWorkingDirectory, ENOTDIR);
}

TEST_P(CloneTest, Limits) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  Recipe recipe = Sleeper();
  recipe.limits = {{RLIMIT_NOFILE, 77, 78}, {RLIMIT_CORE, 0, 0}};
  pid_t pid = Start(std::move(recipe));
  rlimit limit;
  ASSERT_EQ(prlimit(pid, RLIMIT_NOFILE, nullptr, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, 77u);
  EXPECT_EQ(limit.rlim_max, 78u);
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, before.rlim_cur);
}

TEST_P(CloneTest, LimitsThatMakeNoSense) {
  Recipe recipe = Sleeper();
  recipe.limits = {{RLIMIT_NOFILE, 10, 9}};
  ExpectFailure(Fail(recipe), ChildStage::kLimits, EINVAL);
  recipe.limits = {{999, 1, 1}};
  ExpectFailure(Fail(recipe), ChildStage::kLimits, EINVAL);
}

TEST_P(CloneTest, AProcessGroupOfItsOwn) {
  Recipe recipe = Sleeper();
  recipe.plan.new_process_group = true;
  pid_t pid = Start(std::move(recipe));
  EXPECT_EQ(getpgid(pid), pid);
  pid_t other = Start(Sleeper());
  EXPECT_EQ(getpgid(other), getpgrp());
}

TEST_P(CloneTest, NoSignalIsBlockedCaughtOrIgnored) {
  auto before_pipe = signal(SIGPIPE, SIG_IGN);
  auto before_hup = signal(SIGHUP, SIG_IGN);
  auto before_usr1 = signal(SIGUSR1, [](int) {});
  sigset_t usr2, before, after;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr2, &before);
  pid_t plain = Start(Sleeper());
  Recipe keeping = Sleeper();
  keeping.plan.keep_ignored = SignalBit(SIGHUP) | SignalBit(SIGUSR1);
  pid_t kept = Start(std::move(keeping));
  for (pid_t pid : {plain, kept}) WaitForSleep(pid);
  pthread_sigmask(SIG_SETMASK, &before, &after);
  EXPECT_EQ(signal(SIGPIPE, before_pipe), SIG_IGN);
  EXPECT_EQ(signal(SIGHUP, before_hup), SIG_IGN);
  EXPECT_NE(signal(SIGUSR1, before_usr1), SIG_DFL);
  EXPECT_EQ(sigismember(&after, SIGUSR2), 1);
  EXPECT_EQ(sigismember(&after, SIGTERM), 0);
  EXPECT_EQ(StatusField(plain, "SigBlk"), kNone);
  EXPECT_EQ(StatusField(plain, "SigIgn"), kNone);
  EXPECT_EQ(StatusField(plain, "SigCgt"), kNone);
  EXPECT_EQ(StatusField(kept, "SigIgn"), Signals({SIGHUP}));
  EXPECT_EQ(StatusField(kept, "SigBlk"), kNone);
}

TEST_P(CloneTest, TheCallersMaskComesBackAfterEveryFailure) {
  std::string before = StatusField(getpid(), "SigBlk");
  Fail(Recipe({"/no/such/program"}));
  EXPECT_FALSE(Sleeper().Start(GetParam(), STDERR_FILENO).ok());
  EXPECT_EQ(StatusField(getpid(), "SigBlk"), before);
}

pid_t handler_home = 0;
volatile sig_atomic_t handled_elsewhere = 0;

// With memory shared, a handler that runs in the child works on our variables.
TEST_P(CloneTest, NoHandlerRunsInTheChild) {
  handler_home = getpid();
  auto before = signal(SIGALRM, [](int) {
    if (syscall(SYS_getpid) != handler_home) handled_elsewhere = 1;
  });
  itimerval often{{0, 200}, {0, 200}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Run(Recipe({"/bin/true"})).value, 0);
  setitimer(ITIMER_REAL, &never, nullptr);
  signal(SIGALRM, before);
  EXPECT_EQ(handled_elsewhere, 0);
}

TEST_P(CloneTest, ManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> well = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 25; ++j) {
        absl::StatusOr<Child> child = Recipe({"/bin/true"}).Start(GetParam());
        bool started = child.ok() && child->failure.stage == ChildStage::kNone;
        if (started && ReapChild(child->pidfd.get()).ok()) ++well;
        child = Recipe({"/no/such"}).Start(GetParam());
        if (child.ok() && child->failure.error == ENOENT) ++well;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(well, 200);
}

TEST_P(CloneTest, AScriptWithoutAHeaderGoesToTheShell) {
  std::string script = Make("script", "test \"$0 $1 $2\" = \"$A b c\"\n", 0755);
  Recipe recipe({"other name", "b", "c"});
  recipe.paths = {script};
  recipe.environment = {"A=" + script};
  EXPECT_EQ(Run(std::move(recipe)).value, 0);
}

TEST_P(CloneTest, ThePathIsSearchedAsExecvpDoes) {
  Recipe recipe({"true"});
  recipe.paths = {"/no/such/true", "/dev/null/true",
                  Make("true", "#!/bin/sh\n", 0644), "/bin/true", "/bin/false"};
  EXPECT_EQ(Run(recipe).value, 0);
  recipe.paths = {Make("true", "#!/bin/sh\n", 0644), "/no/such/true"};
  ExpectFailure(Fail(recipe), ChildStage::kExec, EACCES);
  recipe.paths = {"/no/such/true", "/dev/null/true"};
  ExpectFailure(Fail(recipe), ChildStage::kExec, ENOTDIR);
}

}  // namespace
}  // namespace treekill::kernel
