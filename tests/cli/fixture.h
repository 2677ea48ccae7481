// What every test of the command line shares.
#ifndef TREEKILL_TESTS_CLI_FIXTURE_H_
#define TREEKILL_TESTS_CLI_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"

namespace treekill::rig {

using Arguments = std::vector<std::string>;

// What a program finds that is started from a shell's prompt: whatever runs
// the tests may ignore or block signals. Async-signal-safe.
inline void BecomeFresh() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) {
    sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
}

// Checks at the end of each test that nothing is left.
class CliTest : public testing::Test {
 protected:
  void SetUp() override { TREEKILL_NEEDS_CGROUP(); }

  void TearDown() override {
    // Then the test is in the cgroup of whoever has started it.
    if (!WhyNoCgroup().empty()) return;
    EXPECT_THAT(WaitForNobody(cookie_, absl::Seconds(20)), testing::IsEmpty());
    // A guardian has no cookie, and may have a leaf to remove.
    EXPECT_TRUE(Eventually([] { return MembersOfOwnCgroup().size() == 1; }))
        << "a guardian is left";
    EXPECT_THAT(LeftLeaves(), testing::IsEmpty());
    if (!HasFailure()) return;
    // One test's failure is not the next one's.
    KillByCookie(cookie_);
    Eventually([] {
      for (const std::string& leaf : LeftLeaves()) rmdir(leaf.c_str());
      return LeftLeaves().empty();
    });
  }

  // A process group of its own keeps the tests' terminal, if any, out of it.
  std::unique_ptr<Program> Start(Arguments argv,
                                 std::function<void()> prepare = nullptr) {
    return std::make_unique<Program>(std::move(argv), environment(),
                                     [prepare = std::move(prepare)] {
                                       BecomeFresh();
                                       setpgid(0, 0);
                                       if (prepare != nullptr) prepare();
                                     });
  }

  // `treekill run` with these arguments behind it.
  std::unique_ptr<Program> StartRun(Arguments arguments,
                                    std::function<void()> prepare = nullptr) {
    arguments.insert(arguments.begin(), {TreekillPath(), "run"});
    return Start(std::move(arguments), std::move(prepare));
  }

  // The same, with a clock that leaps ahead by an hour at Leap().
  std::unique_ptr<Program> StartLeaping(
      Arguments arguments, std::function<void()> prepare = nullptr) {
    Set("TREEKILL_LEAP", File("leap"));
    arguments.insert(arguments.begin(), {TreekillWithFaultsPath(), "run"});
    return Start(std::move(arguments), std::move(prepare));
  }
  void Leap() const { WriteAll(File("leap"), ""); }

  // Runs it to its end, at which nothing of it may be alive.
  Outcome Run(Arguments arguments, std::function<void()> prepare = nullptr) {
    Outcome outcome =
        StartRun(std::move(arguments), std::move(prepare))->Wait();
    EXPECT_THAT(FindByCookie(cookie_), testing::IsEmpty());
    return outcome;
  }

  std::map<std::string, std::string> environment() const {
    std::map<std::string, std::string> all = variables_;
    all.insert({{kCookieVariable, cookie_}, {"LC_ALL", "C"}});
    return all;
  }
  // In the environment of what is started from now on.
  void Set(const std::string& variable, const std::string& value) {
    variables_[variable] = value;
  }
  const std::string& cookie() const { return cookie_; }

  std::string File(const std::string& name) const {
    return directory_.File(name);
  }
  std::string Read(const std::string& name) const {
    return ReadAll(File(name));
  }
  const std::string& directory() const { return directory_.path(); }

  // For files that an ordinary user writes.
  void LetOthersIn() const { EXPECT_EQ(chmod(directory().c_str(), 0777), 0); }

  // Puts a copy of the program into the folder, as `name` or its own, with that
  // mode: the build folder may be closed to others. Returns its path.
  std::string CopyOf(const std::string& program, mode_t mode = 0755,
                     const std::string& name = "") {
    namespace fs = std::filesystem;
    std::string copy =
        File(name.empty() ? fs::path(program).filename().string() : name);
    fs::copy_file(program, copy, fs::copy_options::skip_existing);
    EXPECT_EQ(chmod(copy.c_str(), mode), 0);
    return copy;
  }

 private:
  const std::string cookie_ = NewCookie();
  std::map<std::string, std::string> variables_;
  TempDir directory_;
};

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_FIXTURE_H_
