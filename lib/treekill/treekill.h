// Runs a command in a cgroup of its own and leaves nothing of it alive.
//
//   #include "treekill/treekill.h"
//
//   absl::StatusOr<treekill::RunResult> result = treekill::Run(
//       treekill::Command{.argv = {"make", "check"}},
//       {.tree = {.timeout = absl::Minutes(10)}});
//   if (!result.ok()) {
//     // It could not be started: result.status() says why.
//   } else if (result->report.reason == treekill::EndReason::kTimeout) {
//     // It took too long. It is dead, and so is all that it had started.
//   }
//
// See supervisor.h for many commands at once and an event loop of one's own.
#ifndef TREEKILL_TREEKILL_H_
#define TREEKILL_TREEKILL_H_

#include "treekill/command.h"
#include "treekill/diagnosis.h"
#include "treekill/end_options.h"
#include "treekill/error.h"
#include "treekill/exit_status.h"
#include "treekill/gc.h"
#include "treekill/guardian_entry.h"
#include "treekill/host.h"
#include "treekill/journal.h"
#include "treekill/keeper.h"
#include "treekill/leaks.h"
#include "treekill/live_run.h"
#include "treekill/member.h"
#include "treekill/processes.h"
#include "treekill/report.h"
#include "treekill/run.h"
#include "treekill/supervisor.h"
#include "treekill/teardown.h"
#include "treekill/tree.h"
#include "treekill/unit.h"

#endif  // TREEKILL_TREEKILL_H_
