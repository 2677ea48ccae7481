#include "cli/doctor.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/fd.h"
#include "cli/options.h"
#include "cli/output.h"
#include "treekill/treekill.h"

// glibc 2.36 does not say so itself.
extern "C" {
#include <sys/pidfd.h>
}

namespace treekill::cli {
namespace {

constexpr char kDoctorHelp[] =
    "Usage: treekill doctor [OPTION]...\n"
    "\n"
    "Finds out what can hold a command and all that it starts on this "
    "machine,\n"
    "for this user, from here: by really starting a daemon with each, and\n"
    "ending it. Says why what is missing is missing, and what would give it.\n"
    "\n"
    "      --json                 in JSON\n"
    "  -h, --help                 this text\n"
    "\n"
    "Exit status: 0 when cgroup or scope works, which nothing escapes; 1 when\n"
    "only less does; 125 when treekill itself failed.\n";

constexpr int kOnlyLess = 1;

absl::Status Failed(const char* call) {
  return absl::UnavailableError(absl::StrCat(call, ": ", strerror(errno)));
}

// The daemon's, as it has written it.
absl::StatusOr<pid_t> ReadPid(const OwnedFd& fd) {
  constexpr int kPatienceMs = 20'000;
  pollfd ready{fd.get(), POLLIN, 0};
  if (poll(&ready, 1, kPatienceMs) != 1) {
    return absl::DeadlineExceededError("its daemon did not get to run");
  }
  char text[256];
  ssize_t size = read(fd.get(), text, sizeof(text));
  absl::string_view line(text, size > 0 ? size : 0);
  pid_t pid = 0;
  if (!absl::SimpleAtoi(absl::StripTrailingAsciiWhitespace(line), &pid)) {
    return absl::UnavailableError(
        absl::StrCat("its daemon could not be started: ", line));
  }
  return pid;
}

// OK when a daemon that its command has started was held, killed and gone.
absl::Status Prove(Containment containment) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return Failed("pipe2");
  OwnedFd reader(ends[0]);
  OwnedFd writer(ends[1]);
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create(
      {.containment = containment, .guardian_program = "/proc/self/exe"});
  if (!supervisor.ok()) return supervisor.status();
  constexpr int kReportFd = 3;
  Command command{.argv = {"/proc/self/exe", "demo-escapee", "double-fork",
                           absl::StrCat(kReportFd)},
                  .stdin_ = Stream::Null(),
                  .stdout_ = Stream::Null(),
                  .extra_fds = {{writer.get(), kReportFd}}};
  absl::StatusOr<Tree> tree =
      supervisor->Spawn(command, {.name = "doctor", .journal = false});
  if (!tree.ok()) return tree.status();
  // Or there would be no end of file when nobody writes.
  writer = OwnedFd();
  absl::StatusOr<pid_t> daemon = ReadPid(reader);
  if (!daemon.ok()) return daemon.status();
  OwnedFd pidfd(pidfd_open(*daemon, 0));
  if (pidfd.get() < 0) return Failed("pidfd_open");
  tree->Stop(SIGKILL);
  absl::StatusOr<bool> ended = tree->Wait();
  if (!ended.ok()) return ended.status();
  const TreeReport& report = tree->report();
  if (!report.errors.empty()) return report.errors[0];
  pollfd dead{pidfd.get(), POLLIN, 0};
  if (!report.drained || poll(&dead, 1, 0) != 1) {
    return absl::UnavailableError("a daemon outlived its command");
  }
  return absl::OkStatus();
}

// As Containment::kAuto chooses: not in what is systemd's.
absl::Status ProveCgroup(const HostInfo& host) {
  absl::StatusOr<Supervisor> chosen = Supervisor::Create();
  if (chosen.ok() && chosen->containment() == Containment::kScope) {
    return absl::FailedPreconditionError(
        absl::StrCat("systemd manages ", host.own_cgroup,
                     ", where it would be, and has not delegated it"));
  }
  return Prove(Containment::kCgroup);
}

std::string FixFor(Containment containment, const absl::Status& status,
                   const HostInfo& host) {
  if (status.ok()) return "";
  std::string hint = HintOf(status);
  if (!hint.empty()) return hint;
  bool root = geteuid() == 0;
  if (containment == Containment::kCgroup && host.systemd_running) {
    return absl::StrCat(
        "Delegate=yes in the unit, or systemd-run ", root ? "" : "--user ",
        "--scope -p Delegate=yes treekill run COMMAND",
        root ? ", or systemctl enable --now treekill-keeper" : "");
  }
  if (containment == Containment::kScope && host.systemd_running && !root) {
    return absl::StrCat(
        "log in, or let systemd keep a manager for this user: loginctl "
        "enable-linger ",
        geteuid());
  }
  return "";
}

Diagnosis Diagnose() {
  Diagnosis diagnosis{.host = ProbeHost(), .rungs = {}};
  for (Containment containment :
       {Containment::kCgroup, Containment::kScope, Containment::kSubreaper}) {
    absl::Status status;
    if (containment == Containment::kCgroup) {
      status = ProveCgroup(diagnosis.host);
    } else if (containment == Containment::kScope &&
               !diagnosis.host.systemd_running) {
      status = absl::NotFoundError("no systemd runs here");
    } else {
      status = Prove(containment);
    }
    std::string fix = FixFor(containment, status, diagnosis.host);
    diagnosis.rungs.push_back(
        {ContainmentName(containment), std::move(status), std::move(fix)});
  }
  return diagnosis;
}

}  // namespace

int DoctorMain(int argc, char** argv) {
  absl::StatusOr<JsonCommandLine> line =
      ParseJsonCommandLine(argc, argv, "doctor");
  if (!line.ok()) return Fail(line.status());
  if (line->help) return PrintToStdout(kDoctorHelp);
  // Ignored, the kernel would reap what is started here before we can.
  signal(SIGCHLD, SIG_DFL);
  Diagnosis diagnosis = Diagnose();
  int printed =
      PrintToStdout(line->json ? absl::StrCat(DiagnosisToJson(diagnosis), "\n")
                               : DiagnosisToText(diagnosis));
  if (printed != 0) return printed;
  return diagnosis.IsHealthy() ? 0 : kOnlyLess;
}

}  // namespace treekill::cli
