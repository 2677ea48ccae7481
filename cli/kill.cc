#include "cli/kill.h"

#include <sys/resource.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/kill_options.h"
#include "cli/output.h"
#include "cli/run_names.h"
#include "treekill/treekill.h"

namespace treekill::cli {
namespace {

int PrintMembers(const std::vector<Member>& members) {
  std::string lines;
  for (const Member& member : members) {
    absl::StrAppend(&lines, member.pid, " (", Printable(member.name), ")\n");
  }
  return PrintToStdout(lines);
}

void SayWhatWasDone(const Unit& unit, const UnitEnd& end) {
  if (!end.had_processes) {
    Message(absl::StrCat(unit.name(), " is ", unit.active_state(),
                         ", and has no processes"));
    return;
  }
  Message(absl::StrCat("nothing of ", unit.name(), " is alive",
                       end.killed ? "; SIGKILL was needed" : "",
                       end.by_manager ? "; by way of systemd, as its cgroup is "
                                        "not ours to write to"
                                      : ""));
}

int ReportUnit(const Unit& unit, const UnitEnd& end, bool verbose) {
  if (!end.drained) {
    Message(absl::StrCat(unit.name(), " is not gone: ", end.error.message()));
    if (end.survivors.empty()) return kOwnFailure;
    Message(absl::StrCat("alive: ", Names(end.survivors)));
    return kSurvivors;
  }
  if (verbose) SayWhatWasDone(unit, end);
  if (end.started_again) {
    Message(absl::StrCat("systemd starts ", unit.name(),
                         " again (its Restart= says so); to end it for good: "
                         "systemctl stop ",
                         unit.name()));
    return kSurvivors;
  }
  return 0;
}

int KillUnit(const KillCommandLine& line) {
  absl::StatusOr<Unit> unit = Unit::Find(line.unit.name, line.unit.manager);
  if (!unit.ok()) return Fail(unit.status());
  if (line.dry_run) {
    absl::StatusOr<std::vector<UnitMember>> members = unit->Members();
    if (!members.ok()) return Fail(members.status());
    std::vector<Member> processes;
    for (UnitMember& member : *members) {
      processes.push_back(std::move(member.process));
    }
    return PrintMembers(processes);
  }
  absl::StatusOr<UnitEnd> end = unit->End(line.options);
  if (!end.ok()) return Fail(end.status());
  return ReportUnit(*unit, *end, line.verbose);
}

absl::StatusOr<Processes> FindProcesses(const KillCommandLine& line) {
  switch (line.target) {
    case KillTarget::kTree:
      return Processes::OfTree(line.pid);
    case KillTarget::kGroup:
      return Processes::OfGroup(line.group);
    default:
      return Processes::OfCgroup(line.cgroup);
  }
}

int ReportProcesses(const std::string& name, const ProcessesEnd& end,
                    bool verbose) {
  if (end.drained) {
    if (verbose) {
      Message(absl::StrCat("nothing of ", name, " is alive",
                           end.killed ? "; SIGKILL was needed" : ""));
    }
    return 0;
  }
  for (const Member& member : end.survivors) {
    Message(SurvivorText(member));
  }
  if (!end.refused.empty()) {
    Message(absl::StrCat("alive, and not this user's to signal: ",
                         Names(end.refused), "; run as root"));
  }
  if (!end.survivors.empty() || !end.refused.empty()) return kSurvivors;
  Message(absl::StrCat(name, " is not gone: ", end.error.message()));
  return kOwnFailure;
}

// Each process is held by a descriptor.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int KillProcesses(const KillCommandLine& line) {
  RaiseDescriptorLimit();
  absl::StatusOr<Processes> processes = FindProcesses(line);
  if (!processes.ok()) return FailOfTarget(processes.status());
  if (line.dry_run) {
    absl::StatusOr<std::vector<Member>> members = processes->Members();
    if (!members.ok()) return Fail(members.status());
    return PrintMembers(*members);
  }
  const std::string name = processes->name();
  ProcessesEnd end = std::move(*processes).End(line.options);
  return ReportProcesses(name, end, line.verbose);
}

void SayWhatIsAlive(const LiveRunInfo& info, const RunEnd& end) {
  Message(absl::StrCat(info.id, " is not gone: ", end.error.message()));
  if (end.survivors.empty()) return;
  Message(absl::StrCat("alive: ", Names(end.survivors)));
}

int KillRuns(const KillCommandLine& line) {
  RaiseDescriptorLimit();
  NamedRuns named = FindNamedRuns(line.names);
  if (named.status == kOwnFailure) return kOwnFailure;
  std::vector<LiveRun*> runs;
  std::vector<Member> members;
  for (LiveRun& run : named.runs) {
    // Nobody is touched if one must not be.
    absl::Status may = run.MayEnd();
    if (absl::IsNotFound(may)) continue;
    if (!may.ok()) return Fail(may);
    runs.push_back(&run);
    if (!line.dry_run) continue;
    absl::StatusOr<std::vector<Member>> found = run.Members();
    if (!found.ok()) return Fail(found.status());
    members.insert(members.end(), found->begin(), found->end());
  }
  if (line.dry_run) {
    int printed = PrintMembers(members);
    return printed != 0 ? printed : named.status;
  }
  int status = named.status;
  std::vector<absl::StatusOr<RunEnd>> ends =
      LiveRun::EndAll(runs, line.options);
  for (size_t i = 0; i < ends.size(); ++i) {
    const LiveRunInfo& info = runs[i]->info();
    // It has ended while it was looked for.
    if (absl::IsNotFound(ends[i].status())) continue;
    if (!ends[i].ok()) {
      status = Fail(ends[i].status());
    } else if (!ends[i]->drained) {
      SayWhatIsAlive(info, *ends[i]);
      bool survives = !ends[i]->survivors.empty();
      if (status != kOwnFailure) status = survives ? kSurvivors : kOwnFailure;
    } else if (line.verbose) {
      Message(absl::StrCat("nothing of ", info.id, " is alive",
                           ends[i]->killed ? "; SIGKILL was needed" : ""));
    }
  }
  return status;
}

}  // namespace

int KillMain(int argc, char** argv) {
  absl::StatusOr<KillCommandLine> line = ParseKillCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (line->help) return PrintToStdout(KillHelp());
  if (line->target == KillTarget::kRuns) return KillRuns(*line);
  return line->target == KillTarget::kUnit ? KillUnit(*line)
                                           : KillProcesses(*line);
}

}  // namespace treekill::cli
