// The exit status of `treekill run`, side by side with that of timeout(1).
#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

struct Case {
  const char* name;
  // In front of the command.
  Arguments treekill;
  Arguments timeout;
  Arguments command;
  // What a shell has in $?.
  int status;
  // By which signal the two end themselves; 0: they exit.
  int treekill_signal = 0;
  int timeout_signal = 0;
};

class ExitStatusTest : public CliTest {
 protected:
  static Arguments Join(Arguments all, const Arguments& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  // What has come of one case, in a shell and without.
  struct Result {
    std::string shells_output;
    Outcome bare;
  };
  struct Results {
    Result treekill;
    Result timeout;
  };

  // All at a time.
  std::vector<Result> RunAll(const std::vector<Arguments>& commands) {
    const Arguments shell = {"bash", "-c", "\"$@\"; echo status:$?", "bash"};
    std::vector<std::unique_ptr<Program>> programs;
    for (const Arguments& command : commands) {
      programs.push_back(Start(Join(shell, command)));
      programs.push_back(Start(command));
    }
    std::vector<Result> results;
    for (size_t i = 0; i < programs.size(); i += 2) {
      std::string output = programs[i]->Wait().output;
      results.push_back({output, programs[i + 1]->Wait()});
    }
    return results;
  }

  std::vector<Results> RunAll(const std::vector<Case>& cases) {
    std::vector<Arguments> by_treekill, by_timeout;
    for (const Case& test : cases) {
      by_treekill.push_back(
          Join(Join({TreekillPath(), "run"}, test.treekill), test.command));
      by_timeout.push_back(Join(Join({"timeout"}, test.timeout), test.command));
    }
    std::vector<Result> ours = RunAll(by_treekill);
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    std::vector<Result> theirs = RunAll(by_timeout);
    std::vector<Results> results;
    for (size_t i = 0; i < cases.size(); ++i) {
      results.push_back({ours[i], theirs[i]});
    }
    return results;
  }

  static void Check(const Result& result, int status, int signal) {
    size_t at = result.shells_output.rfind("status:");
    EXPECT_EQ(result.shells_output.substr(at == std::string::npos ? 0 : at),
              absl::StrCat("status:", status, "\n"));
    EXPECT_EQ(result.bare.signal(), signal);
    if (signal == 0) {
      EXPECT_EQ(result.bare.exit_code(), status);
    }
  }

  static void Check(const std::vector<Case>& cases,
                    const std::vector<Results>& results) {
    for (size_t i = 0; i < cases.size(); ++i) {
      const Case& test = cases[i];
      SCOPED_TRACE(test.name);
      Check(results[i].treekill, test.status, test.treekill_signal);
      EXPECT_FALSE(WCOREDUMP(results[i].treekill.bare.wait_status));
      Check(results[i].timeout, test.status, test.timeout_signal);
    }
  }

  void Check(const std::vector<Case>& cases) { Check(cases, RunAll(cases)); }

  Arguments Shell(const char* text) { return {"bash", "-c", text}; }
};

TEST_F(ExitStatusTest, CommandThatEndsByItself) {
  const std::vector<Case> cases = {
      {"0", {}, {"60"}, {"true"}, 0},
      {"3", {}, {"60"}, Shell("exit 3"), 3},
      {"255", {}, {"60"}, Shell("exit 255"), 255},
      {"124 of its own", {}, {"60"}, Shell("exit 124"), 124},
      {"before its time", {"--timeout=60"}, {"60"}, Shell("exit 3"), 3},
      {"no time", {"--timeout=0"}, {"0"}, Shell("exit 3"), 3},
      {"TERM", {}, {"60"}, Shell("kill -TERM $$"), 143, SIGTERM, SIGTERM},
      {"SEGV", {}, {"60"}, Shell("kill -SEGV $$"), 139, SIGSEGV, SIGSEGV},
      {"INT", {}, {"60"}, Shell("kill -INT $$"), 130, SIGINT, SIGINT},
      {"KILL", {}, {"60"}, Shell("kill -KILL $$"), 137, SIGKILL, SIGKILL},
      {"HUP", {}, {"60"}, Shell("kill -HUP $$"), 129, SIGHUP, SIGHUP},
      {"PIPE", {}, {"60"}, Shell("kill -PIPE $$"), 141, SIGPIPE, SIGPIPE},
      {"ALRM", {}, {"60"}, Shell("kill -ALRM $$"), 142, SIGALRM, SIGALRM},
      {"RTMIN", {}, {"60"}, Shell("kill -RTMIN $$"), 162, 34, 34},
  };
  Check(cases);
}

TEST_F(ExitStatusTest, CommandThatCannotRun) {
  WriteAll(File("plain"), "exit 9\n");
  WriteAll(File("script"), "exit 9\n");
  chmod(File("script").c_str(), 0755);
  WriteAll(File("lost"), "#!/no/such/interpreter\n");
  chmod(File("lost").c_str(), 0755);
  const std::vector<Case> cases = {
      {"not executable", {}, {"60"}, {File("plain")}, 126},
      {"a folder", {}, {"60"}, {directory()}, 126},
      {"below a file", {}, {"60"}, {File("plain") + "/x"}, 126},
      {"not found", {}, {"60"}, {"no-such-program-anywhere"}, 127},
      {"no such path", {}, {"60"}, {"/no/such/program"}, 127},
      {"no interpreter", {}, {"60"}, {File("lost")}, 127},
      {"no #!", {}, {"60"}, {File("script"), "x"}, 9},
      {"bad option", {"--no-such-option"}, {"--no-such-option"}, {"true"}, 125},
      {"bad duration", {"--timeout=5x"}, {"5x"}, {"true"}, 125},
      {"bad signal", {"-s", "FOO"}, {"-s", "FOO", "1"}, {"true"}, 125},
      {"no command", {}, {"60"}, {}, 125},
  };
  Check(cases);
}

TEST_F(ExitStatusTest, CommandThatTimesOut) {
  Arguments sleeps = {"sleep", "60"};
  Check({
      {"124", {"--timeout=0.1"}, {"0.1"}, sleeps, 124},
      {"other signal",
       {"--timeout=0.1", "-s", "HUP"},
       {"-s", "HUP", "0.1"},
       sleeps,
       124},
      // timeout sends SIGKILL to its own process group, and so to itself.
      // treekill is not in the tree that it kills.
      {"-s KILL",
       {"--timeout=0.1", "-s", "KILL"},
       {"-s", "KILL", "0.1"},
       sleeps,
       137,
       0,
       SIGKILL},
      {"--preserve-status, TERM",
       {"--timeout=0.1", "--preserve-status"},
       {"--preserve-status", "0.1"},
       sleeps,
       143},
  });
}

// With as much time to say what is to happen then as this machine needs.
TEST_F(ExitStatusTest, CommandThatHandlesItsTimeout) {
  std::string up = File("up");
  Arguments deaf =
      Join(Shell("trap '' TERM; echo >>$0; sleep 60; sleep 60"), {up});
  Arguments handles =
      Join(Shell("trap 'exit 7' TERM; echo >>$0; sleep 60 & wait"), {up});
  double seconds = 0.2;
  std::vector<Case> cases;
  std::vector<Results> results;
  EXPECT_TRUE(Eventually([&] {
    seconds *= 2;
    std::string time = absl::StrCat(seconds);
    std::string option = "--timeout=" + time;
    cases = {{"-k",
              {option, "-k", "0.1"},
              {"-k", "0.1", time},
              deaf,
              137,
              0,
              SIGKILL},
             {"handles TERM", {option}, {time}, handles, 124},
             {"--preserve-status, 7",
              {option, "--preserve-status"},
              {"--preserve-status", time},
              handles,
              7}};
    WriteAll(up, "");
    results = RunAll(cases);
    // Each case four times.
    return ReadAll(up).size() == 4 * cases.size();
  }));
  Check(cases, results);
}

TEST_F(ExitStatusTest, LessThanRequiredDoesNotStart) {
  std::string made = File("made");
  for (const char* containment : {"process", "process-group"}) {
    Outcome outcome =
        Run({"--require=cgroup", absl::StrCat("--containment=", containment),
             "--", "touch", made});
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_THAT(outcome.errors, StartsWith("treekill: "));
    EXPECT_THAT(outcome.errors, HasSubstr(containment));
    EXPECT_NE(access(made.c_str(), F_OK), 0);
  }
}

// Prints, into a file, the numbers of the descriptors that it has got.
constexpr char kListFds[] =
    "for f in /proc/$$/fd/*; do [ -e $f ] && l=\"$l ${f##*/}\"; done; "
    "echo $l >\"$1\"; exit 3";

TEST_F(ExitStatusTest, ClosedStandardStreamsStayClosed) {
  for (int closed = 0; closed < 8; ++closed) {
    SCOPED_TRACE(closed);
    auto close_them = [closed] {
      for (int fd = 0; fd < 3; ++fd) {
        if ((closed & 1 << fd) != 0) close(fd);
      }
    };
    Outcome ours =
        Run({"-v", "sh", "-c", kListFds, "sh", File("ours")}, close_them);
    EXPECT_EQ(ours.exit_code(), 3);
    EXPECT_EQ(ours.output, "");
    Outcome theirs =
        Start({"timeout", "60", "sh", "-c", kListFds, "sh", File("theirs")},
              close_them)
            ->Wait();
    EXPECT_EQ(theirs.exit_code(), 3);
    EXPECT_EQ(Read("ours"), Read("theirs"));
    for (int fd = 0; fd < 3; ++fd) {
      bool open = (closed & 1 << fd) == 0;
      std::string list = absl::StrCat(
          " ", absl::StripTrailingAsciiWhitespace(Read("ours")), " ");
      EXPECT_EQ(list.find(absl::StrCat(" ", fd, " ")) != list.npos, open);
    }
  }
}

TEST_F(ExitStatusTest, DescriptorsPassThroughAndNoneLeaks) {
  std::string passed = File("passed");
  WriteAll(passed, "");
  auto open_five = [&passed] {
    close_range(3, ~0U, 0);
    int fd = open(passed.c_str(), O_WRONLY | O_APPEND);
    dup2(fd, 5);
    if (fd != 5) close(fd);
  };
  Run({"sh", "-c", kListFds, "sh", File("ours")}, open_five);
  Start({"timeout", "60", "sh", "-c", kListFds, "sh", File("theirs")},
        open_five)
      ->Wait();
  EXPECT_THAT(Read("ours"), StartsWith("0 1 2 5"));
  EXPECT_EQ(Read("ours"), Read("theirs"));
  Outcome outcome = Run({"sh", "-c", "echo five >&5"}, open_five);
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  EXPECT_EQ(Read("passed"), "five\n");
}

// None but what was asked for and the three streams, in /proc's own words.
TEST_F(ExitStatusTest, NoDescriptorOfACgroupIsInherited) {
  Outcome outcome = Run({"ls", "-l", "/proc/self/fd"});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
  for (const char* word : {"cgroup", "pidfd", "anon_inode", "/dev/tty"}) {
    EXPECT_THAT(outcome.output, Not(HasSubstr(word)));
  }
}

}  // namespace
}  // namespace treekill::rig
