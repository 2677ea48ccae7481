#include "cli/demo_trial.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/output.h"

// glibc 2.36 does not say so itself.
extern "C" {
#include <sys/pidfd.h>
}

namespace treekill::cli {
namespace {

constexpr char kSelf[] = "/proc/self/exe";
constexpr char kEndedBefore[] = "it has ended before the trial";

std::string Because(const std::string& call) {
  return absl::StrCat(call, ": ", strerror(errno));
}

bool HasEnded(const OwnedFd& pidfd) {
  pollfd ended{pidfd.get(), POLLIN, 0};
  return poll(&ended, 1, 0) == 1;
}

// A seccomp filter may not let pidfd_send_signal(2) through.
void Send(const OwnedFd& pidfd, pid_t pid, int signal) {
  if (pidfd.get() < 0 ||
      pidfd_send_signal(pidfd.get(), signal, nullptr, 0) == 0 ||
      (errno != ENOSYS && errno != EPERM)) {
    return;
  }
  if (!HasEnded(pidfd)) kill(pid, signal);
}

struct Pipe {
  OwnedFd read;
  OwnedFd write;
};

bool Open(Pipe* pipe) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return false;
  pipe->read = OwnedFd(ends[0]);
  pipe->write = OwnedFd(ends[1]);
  // The writers may wait, but not we.
  return fcntl(pipe->read.get(), F_SETFL, O_NONBLOCK) == 0;
}

std::string ReadSome(const OwnedFd& fd) {
  char text[4096];
  ssize_t size = read(fd.get(), text, sizeof(text));
  return std::string(text, size > 0 ? size : 0);
}

[[noreturn]] void Give(const std::string& call) {
  Message(Because(call));
  _exit(kOwnFailure);
}

void BecomeNobody(const std::string& cgroup) {
  if (!cgroup.empty()) {
    int fd = open(absl::StrCat(cgroup, "/cgroup.procs").c_str(),
                  O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) < 0) Give("write to cgroup.procs");
    close(fd);
  }
  if (setgroups(0, nullptr) < 0) Give("setgroups");
  if (setresgid(kNobody, kNobody, kNobody) < 0) Give("setresgid");
  if (setresuid(kNobody, kNobody, kNobody) < 0) Give("setresuid");
}

// What any program expects that is started, whatever ours are; and no terminal,
// in which it would be in the way, or behave otherwise than without.
void BecomeFresh(int errors) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setsid();
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) Give("open /dev/null");
  dup2(null, STDIN_FILENO);
  dup2(errors, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
}

[[noreturn]] void Execute(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(kSelf, argv.data());
  Give(absl::StrCat("execve ", kSelf));
}

}  // namespace

std::vector<std::string> Trial::Argv(const Site& site, int report) const {
  std::vector<std::string> argv = {"treekill"};
  if (method_->containment.empty()) {
    argv.insert(argv.end(), {"demo-escapee", "parent"});
  } else {
    argv.insert(argv.end(),
                {"run", "--name=demo", "--journal=no", "--kill-after=100ms",
                 absl::StrCat("--containment=", method_->containment), "--",
                 kSelf, "demo-escapee"});
  }
  argv.insert(argv.end(),
              {escapee_->mode, absl::StrCat(report),
               escapee_->as_nobody ? absl::StrCat(site.setuid_program.get())
                                   : site.elsewhere});
  return argv;
}

absl::Status Trial::WhatIsMissing(const Site& site) const {
  if (method_->containment == "scope" && !site.scope_error.ok()) {
    return site.scope_error;
  }
  if (method_->containment == "cgroup" && !site.cgroup_error.ok()) {
    return site.cgroup_error;
  }
  if (escapee_->as_nobody) return site.setuid_error;
  if (escapee_->needs_cgroup) return site.cgroup_error;
  return absl::OkStatus();
}

void Trial::Start(const Site& site) {
  absl::Status missing = WhatIsMissing(site);
  if (!missing.ok()) return Fail(std::string(missing.message()));
  Pipe report, errors;
  if (!Open(&report) || !Open(&errors)) return Fail(Because("pipe2"));
  std::vector<std::string> argv = Argv(site, report.write.get());
  starter_pid_ = fork();
  if (starter_pid_ < 0) return Fail(Because("fork"));
  if (starter_pid_ == 0) {
    BecomeFresh(errors.write.get());
    fcntl(report.write.get(), F_SETFD, 0);
    if (escapee_->as_nobody) {
      fcntl(site.setuid_program.get(), F_SETFD, 0);
      BecomeNobody(site.nobodys);
    }
    Execute(std::move(argv));
  }
  // Not reaped yet, it cannot be another's.
  starter_ = OwnedFd(pidfd_open(starter_pid_, 0));
  if (starter_.get() < 0) return Fail(Because("pidfd_open"));
  report_ = std::move(report.read);
  errors_ = std::move(errors.read);
  awaited_ = report_.get();
}

void Trial::Advance() {
  if (awaited_ == report_.get()) TakeReport();
  awaited_ = -1;
}

// "PID", "PID CGROUP", "- REASON"; or nothing, when everybody has gone who
// could have written it.
void Trial::TakeReport() {
  std::string line = ReadSome(report_);
  absl::string_view text = absl::StripTrailingAsciiWhitespace(line);
  if (absl::ConsumePrefix(&text, "- ")) return Fail(std::string(text));
  size_t blank = text.find(' ');
  pid_t pid = 0;
  if (!absl::SimpleAtoi(text.substr(0, blank), &pid) || pid <= 0) {
    return Fail(TakeComplaint());
  }
  if (blank != absl::string_view::npos) {
    cgroup_ = std::string(text.substr(blank + 1));
  }
  escaped_pid_ = pid;
  escaped_ = OwnedFd(pidfd_open(pid, 0));
  if (escaped_.get() < 0) Fail(Because("pidfd_open"));
}

// What was said on standard error, without the details.
std::string Trial::TakeComplaint() const {
  std::string text = ReadSome(errors_);
  absl::string_view words = text;
  words = words.substr(0, words.find_first_of("\n;"));
  absl::ConsumePrefix(&words, "treekill: ");
  if (words.empty()) return kEndedBefore;
  return absl::StrCat(escapee_->as_nobody ? "as nobody: " : "", words);
}

void Trial::Fail(const std::string& reason) {
  if (seen_.reason.empty()) seen_.reason = reason;
}

void Trial::End() {
  if (awaited_ >= 0) Fail("it was not there in time");
  awaited_ = -1;
  if (starter_.get() < 0) return;
  if (seen_.reason.empty() && HasEnded(escaped_)) {
    Fail(kEndedBefore);
  }
  bool kill = escapee_->kills_starter || method_->containment.empty();
  Send(starter_, starter_pid_, kill ? SIGKILL : SIGTERM);
  awaited_ = starter_.get();
}

void Trial::Watch() { awaited_ = seen_.reason.empty() ? escaped_.get() : -1; }

void Trial::Conclude() {
  awaited_ = -1;
  if (seen_.reason.empty()) seen_.survived = !HasEnded(escaped_);
}

void Trial::Clean() {
  Send(escaped_, escaped_pid_, SIGKILL);
  Send(starter_, starter_pid_, SIGTERM);
}

bool Trial::IsStarter(pid_t pid) const {
  return pid == starter_pid_ && starter_.get() >= 0 && !HasEnded(starter_);
}

}  // namespace treekill::cli
