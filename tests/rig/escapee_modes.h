// What the modes of escapee share with its main program (escapee.cc).

#ifndef TREEKILL_TESTS_RIG_ESCAPEE_MODES_H_
#define TREEKILL_TESTS_RIG_ESCAPEE_MODES_H_

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace escapee {

inline constexpr int kBroken = 99;
inline constexpr int kUnavailable = 77;

struct Mode {
  const char* name;
  void (*run)();
  int count;
};

// What execve(2) takes.
struct Arguments {
  explicit Arguments(std::vector<std::string> words) : text(std::move(words)) {
    for (std::string& word : text) argv.push_back(word.data());
    argv.push_back(nullptr);
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  std::vector<std::string> text;
  std::vector<char*> argv;
};

inline constexpr char kSelf[] = "/proc/self/exe";

// escapee_modes.cc
const std::vector<Mode>& Modes();

// escapee.cc
extern std::string g_cookie;
extern int g_count;
extern int g_life;      // Seconds until a process ends by itself.
extern int g_write_fd;  // Of the handshake.
extern std::vector<pid_t> g_children;  // The leader's own, not waited for.
extern std::vector<pid_t> g_members;   // Those that reported.

[[noreturn]] void Fail(int code, const char* what, int error);
[[noreturn]] void FailOrRefused(const char* what, int error);
long Check(long result, const char* what);
time_t NowSeconds();
void SleepMs(int ms);
[[noreturn]] void Sleep();
void ArmLife();
void BecomeMember();
void Ready();
pid_t Fork();
int Wait(pid_t pid, int flags);
void Collect(size_t expected);

template <typename SetUp>
pid_t Spawn(SetUp set_up) {
  pid_t pid = Fork();
  if (pid == 0) {
    set_up();
    Ready();
    Sleep();
  }
  return pid;
}

}  // namespace escapee

#endif  // TREEKILL_TESTS_RIG_ESCAPEE_MODES_H_
