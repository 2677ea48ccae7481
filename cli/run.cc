#include "cli/run.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/diagnosis_text.h"
#include "cli/lifelines.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/run_messages.h"
#include "cli/run_options.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "treekill/kernel/time_limit.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

// One run, from the options to the exit status.
class Run final {
 public:
  Run(RunCommandLine line, OutputFile report_file, OutputFile dump_file)
      : line_(std::move(line)),
        report_file_(std::move(report_file)),
        dump_file_(std::move(dump_file)) {}

  int Main() {
    absl::Status status = Start();
    if (status.ok()) status = Serve();
    if (!status.ok()) {
      // What may be alive is ended by the supervisor's destructor.
      tree_ = Tree();
      supervisor_.reset();
      terminal_.Restore();
      int failed = ReportFailure(status);
      if (absl::IsCancelled(status)) DieBySignal(signals_.TakeEnd());
      return failed;
    }
    terminal_.Restore();
    // No destructor is run when we end by a signal.
    supervisor_.reset();
    return ReportEnd();
  }

 private:
  // Does the terminal give the command its signals as well as us?
  bool shares_group() const { return !tree_options_.new_process_group; }

  absl::Status Start() {
    if (signals_.fd() < 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot read signals: signalfd: ", strerror(errno)));
    }
    LimitMessages(WhileItRuns());
    absl::Status watched = WatchLifelines();
    if (!watched.ok()) return watched;
    bool whole_tree = line_.containment == Containment::kAuto ||
                      !IsWeaker(line_.containment, Containment::kSubreaper);
    absl::StatusOr<Supervisor> supervisor =
        Supervisor::Create({.containment = line_.containment,
                            .require = line_.require,
                            .guardian_program = "/proc/self/exe",
                            .park_guardian = true,
                            .adopt_orphans = whole_tree});
    if (!supervisor.ok()) return supervisor.status();
    supervisor_ = std::make_unique<Supervisor>(*std::move(supervisor));
    TeardownStep step{.signal = SIGTERM, .grace = line_.kill_after};
    tree_options_ = {
        .name = line_.name,
        .scope = line_.scope,
        .timeout = line_.timeout,
        .timeout_signal = line_.signal,
        .timeout_first_step = FirstStep(),
        .diagnose_timeout = !line_.dump.empty(),
        .teardown = {.kill_mode = line_.kill_mode, .steps = {step}},
        .leaks = LeaksOf(line_),
        .on_supervisor_death = line_.guardian == GuardianChoice::kNo
                                   ? OnSupervisorDeath::kKillLeader
                                   : OnSupervisorDeath::kKillTree,
        .guardian_optional = line_.guardian == GuardianChoice::kTry,
        .cancel_fd = signals_.end_fd(),
        .new_process_group = !terminal_.was_foreground() ||
                             line_.containment == Containment::kProcessGroup,
        .journal = WantsJournal(),
        .describe_members = line_.verbose || !line_.report.empty() ||
                            line_.on_leak != LeakChoice::kKill ||
                            !line_.keep.empty()};
    absl::StatusOr<Tree> tree =
        supervisor_->Spawn({.argv = line_.command,
                            .working_directory = line_.directory,
                            .inherit_fds = true,
                            .keep_ignored = signals_.ignored(),
                            .no_new_privileges = line_.no_new_privileges},
                           tree_options_);
    if (!tree.ok()) return tree.status();
    tree_ = *std::move(tree);
    NoteContainment();
    if (line_.verbose) {
      Message(absl::StrCat("started ", line_.command[0], " as pid ",
                           tree_.leader(), tree_.leaf().empty() ? "" : " in ",
                           tree_.leaf(), ", ", Guarded()));
    }
    NoteGuardian();
    return absl::OkStatus();
  }

  // Never a silent downgrade.
  void NoteContainment() {
    const TreeReport& report = tree_.report();
    if (report.containment_error.ok()) {
      if (!line_.verbose) return;
      Message(absl::StrCat("containment ", ContainmentName(report.containment),
                           ", ", supervisor_->placement()));
      return;
    }
    bool weak = IsWeaker(report.containment, Containment::kCgroup);
    bool scope = report.containment == Containment::kScope;
    Message(absl::StrCat(
        "held by a ", weak || scope ? "" : "plain ",
        ContainmentName(report.containment), ", not ",
        weak    ? "by a cgroup: "
        : scope ? "below the keeper's cgroup: "
                : "by a scope: ",
        weak ? ReasonOf(report.containment_error)
             : std::string(report.containment_error.message()),
        weak ? "; 'treekill doctor' tells what would help, --require=cgroup "
               "refuses to start so"
             : ""));
  }

  std::optional<TeardownStep> FirstStep() const {
    if (line_.timeout_signal_first == 0) return std::nullopt;
    return TeardownStep{.signal = line_.timeout_signal_first,
                        .grace = line_.kill_after};
  }

  static LeakPolicy LeaksOf(const RunCommandLine& line) {
    LeakPolicy policy{.keep = line.keep};
    if (line.on_leak == LeakChoice::kKeep) policy.on_leak = OnLeak::kKeep;
    if (line.on_leak == LeakChoice::kWait) {
      policy.on_leak = OnLeak::kWait;
      policy.wait = line.leak_wait;
    }
    return policy;
  }

  std::optional<bool> WantsJournal() const {
    if (line_.journal == JournalChoice::kAuto) return std::nullopt;
    return line_.journal == JournalChoice::kYes;
  }

  absl::Status WatchLifelines() {
    if (line_.lifeline >= 0) {
      absl::Status prepared = PrepareLifeline(line_.lifeline);
      if (!prepared.ok()) return prepared;
      lifeline_ = line_.lifeline;
    }
    if (!line_.die_with_parent) return absl::OkStatus();
    return parent_.Start(line_.parent, Signals::kParentDeath);
  }

  // Never a silent downgrade.
  void NoteGuardian() const {
    const TreeReport& report = tree_.report();
    if (report.guardian_error.ok()) return;
    Message(absl::StrCat("no guardian: ", report.guardian_error.message(), "; ",
                         Guarded()));
  }

  const char* Guarded() const {
    switch (tree_.report().on_supervisor_death) {
      case OnSupervisorDeath::kKillTree:
        return "guarded";
      case OnSupervisorDeath::kKillLeader:
        return "if treekill is killed, what the command has started lives on";
      case OnSupervisorDeath::kLeave:
        break;
    }
    return "if treekill is killed, the command lives on";
  }

  absl::Status Serve() {
    while (!tree_.ended()) {
      // poll(2) passes over a descriptor of -1.
      pollfd fds[] = {{signals_.fd(), POLLIN, 0},
                      {supervisor_->fd(), POLLIN, 0},
                      {parent_.fd(), POLLIN, 0},
                      {lifeline_, kLifelineEvents, 0}};
      if (poll(fds, std::size(fds), -1) < 0 && errno != EINTR) {
        return absl::UnavailableError(
            absl::StrCat("cannot wait: poll: ", strerror(errno)));
      }
      // Signals first: a Ctrl-C that has ended the command must not be taken
      // for one that comes during the teardown.
      while (std::optional<Signals::Received> received = signals_.Next()) {
        OnSignal(*received);
      }
      if (fds[2].revents != 0) {
        parent_.Stop();
        tree_.Stop(/*first_signal=*/0, EndReason::kParentDied);
      }
      if (LifelineClosed(fds[3].revents)) {
        lifeline_ = -1;
        tree_.Stop(/*first_signal=*/0, EndReason::kLifelineClosed);
      }
      absl::Status served = supervisor_->Dispatch();
      if (!served.ok()) return served;
      if (tree_.report().diagnosis.has_value()) Dump();
      if (tree_.leader_ended()) EndAWaitByInterrupt();
      // Whether Ctrl-Z stops the command is the command's affair.
      if (shares_group() && IsJobControl(tree_.TakeLeaderStop())) Suspend();
    }
    return absl::OkStatus();
  }

  // Who reads what we say must not keep the tree alive by not reading.
  Patience WhileItRuns() const {
    return {.time = kernel::TimeLimit("message", absl::Seconds(1)),
            .end_fd = signals_.end_fd()};
  }
  // Once the tree is gone there is time, unless treekill was told to end.
  Patience AtTheEnd() const {
    return {.time = told_to_end_
                        ? kernel::TimeLimit("last-message", absl::Seconds(5))
                        : absl::InfiniteDuration(),
            .end_fd = signals_.end_fd()};
  }

  // Once.
  void Dump() {
    if (std::exchange(dumped_, true)) return;
    dump_written_ = dump_file_.Write(
        DiagnosisText(*tree_.report().diagnosis, line_.command[0]),
        WhileItRuns());
  }

  void OnSignal(const Signals::Received& received) {
    told_to_end_ |= received.signal == SIGTERM || received.signal == SIGHUP ||
                    received.signal == SIGINT || received.signal == SIGQUIT;
    bool command_has_it = received.from_terminal && shares_group();
    switch (received.signal) {
      case SIGTERM:
      case SIGHUP:
        if (!tree_.ending()) {
          ended_by_ = received;
          tree_.Stop(received.signal);
          // Of thousands that takes its time.
          ended_at_ = absl::Now();
        } else if (!IsEcho(received)) {
          tree_.Stop(SIGKILL);
        } else if (!command_has_it) {
          PassOn(received.signal);
        }
        return;
      case SIGINT:
      case SIGQUIT:
        if (tree_.ending()) {
          tree_.Stop(SIGKILL);
          return;
        }
        interrupted_at_ = absl::Now();
        if (!command_has_it && !tree_.leader_ended()) PassOn(received.signal);
        return;
      case SIGTSTP:
        if (command_has_it) return;
        PassOn(SIGTSTP);
        Suspend();
        PassOn(SIGCONT);
        return;
      case SIGWINCH:
      case SIGCONT:
        if (!shares_group()) PassOn(received.signal);
        return;
      case SIGUSR1:
      case SIGUSR2:
        NoteStatus(tree_.SignalLeader(received.signal));
        return;
      case Signals::kParentDeath:
        if (line_.die_with_parent) {
          tree_.Stop(/*first_signal=*/0, EndReason::kParentDied);
        }
        return;
      default:
        return;
    }
  }

  // An INT or QUIT that finds the command dead, or dying, is lost on it, and
  // one that ends it is meant for all: what a shell has started in the
  // background ignores both.
  void EndAWaitByInterrupt() {
    if (tree_.ending()) return;
    if (absl::Now() - interrupted_at_ < absl::Seconds(1)) tree_.Stop();
  }

  // A log-out sends several at once, each meaning the same: the shell's HUP and
  // the terminal's, or systemd's TERM and HUP.
  bool IsEcho(const Signals::Received& received) const {
    if (received.signal == SIGHUP && received.from_terminal) return true;
    return received.signal != ended_by_.signal &&
           absl::Now() - ended_at_ <
               kernel::TimeLimit("echo", absl::Milliseconds(100));
  }

  // SIGSTOP is not: with it, a command could stop its own time limit.
  static bool IsJobControl(int signal) {
    return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
  }

  void Suspend() {
    tree_.PauseTimers();
    StopSelf();
    tree_.ResumeTimers();
  }

  // As the terminal would: to the command's group, if it has one.
  void PassOn(int signal) {
    NoteStatus(shares_group() ? tree_.SignalLeader(signal)
                              : tree_.SignalLeaderGroup(signal));
  }

  static void NoteStatus(const absl::Status& status) {
    if (!status.ok()) Message(std::string(status.message()));
  }

  // Returns `status`, or kOwnFailure when it could not be written.
  int WriteReport(const std::string& json, int status) {
    absl::Status written =
        report_file_.Write(absl::StrCat(json, "\n"), AtTheEnd());
    return written.ok() ? status : Fail(written);
  }

  int ReportFailure(const absl::Status& error) {
    LimitMessages(AtTheEnd());
    Message(std::string(error.message()));
    int status = kOwnFailure;
    if (CallOf(error) == "execve") {
      status = ErrnoOf(error) == ENOENT ? kNotFound : kCannotExecute;
    }
    (void)WriteReport(FailureToJson(error, status), status);
    return status;
  }

  int ReportEnd() {
    LimitMessages(AtTheEnd());
    const TreeReport& report = tree_.report();
    if (line_.verbose) Message(Summary(report));
    // With --guardian=try it was said at the start.
    if (line_.guardian == GuardianChoice::kYes) NoteGuardian();
    if (line_.journal == JournalChoice::kYes && !report.journal_error.ok()) {
      Message(absl::StrCat("an entry is missing in the journal: ",
                           report.journal_error.message()));
    }
    if (line_.on_leak != LeakChoice::kKill) SayWhoLeaked(report);
    SayWhoIsKept(report, line_.name);
    for (const absl::Status& error : report.errors) {
      Message(std::string(error.message()));
    }
    for (const Member& member : report.survivors) {
      Message(SurvivorText(member));
    }
    if (!report.drained && report.survivors.empty() && report.errors.empty()) {
      Message(absl::StrCat("it is not known whether something of the command ",
                           "is alive; its leader was pid ", report.leader));
    }
    // Nobody reads standard error if that is where it went.
    if (!dump_written_.ok() && line_.dump != kDumpToErrors) Fail(dump_written_);
    int status = StatusOf(report);
    status = WriteReport(ReportToJson(report, status), status);
    bool by_signal = report.status.signaled() && !TimedOut(report) &&
                     status == report.status.ShellCode();
    if (by_signal) DieBySignal(report.status.signal());
    return status;
  }

  static bool TimedOut(const TreeReport& report) {
    return report.reason == EndReason::kTimeout;
  }

  int StatusOf(const TreeReport& report) const {
    if (!report.survivors.empty()) return kSurvivors;
    if (!report.errors.empty() || !report.drained) return kOwnFailure;
    // As timeout(1): a script can tell that the command had to be killed.
    bool killed = report.status.signal() == SIGKILL;
    if (TimedOut(report) && !line_.preserve_status && !killed) {
      return kTimedOut;
    }
    if (!report.status.known()) Message("the command's status is not known");
    bool leaked = line_.on_leak == LeakChoice::kFail && report.leaked_count > 0;
    if (leaked && report.status.ShellCode() == 0) return kLeaked;
    return report.status.ShellCode();
  }

  const RunCommandLine line_;
  OutputFile report_file_;
  OutputFile dump_file_;
  bool dumped_ = false;
  absl::Status dump_written_;
  Terminal terminal_;
  Signals signals_;
  ParentWatch parent_;
  int lifeline_ = -1;
  TreeOptions tree_options_;
  std::unique_ptr<Supervisor> supervisor_;
  Tree tree_;
  bool told_to_end_ = false;
  // The signal that began the end.
  Signals::Received ended_by_;
  absl::Time ended_at_;
  absl::Time interrupted_at_ = absl::InfinitePast();
};

}  // namespace

int RunMain(int argc, char** argv) {
  absl::StatusOr<RunCommandLine> line = ParseRunCommandLine(argc, argv);
  if (!line.ok()) {
    Message(std::string(line.status().message()));
    return kOwnFailure;
  }
  if (line->help) return PrintToStdout(kRunHelp);
  // Before signals are blocked: to open a FIFO may take for ever.
  OutputFile report_file;
  OutputFile dump_file;
  absl::Status opened =
      report_file.Open(line->report, "--report", "the report");
  if (opened.ok()) {
    opened = dump_file.Open(line->dump, "--dump-on-timeout", "the dump");
  }
  if (!opened.ok()) {
    Message(std::string(opened.message()));
    return kOwnFailure;
  }
  return Run(*std::move(line), std::move(report_file), std::move(dump_file))
      .Main();
}

}  // namespace treekill::cli
