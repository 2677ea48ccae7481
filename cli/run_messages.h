// What `treekill run` says of the end of its command.
#ifndef TREEKILL_CLI_RUN_MESSAGES_H_
#define TREEKILL_CLI_RUN_MESSAGES_H_

#include <string>

#include "treekill/treekill.h"

namespace treekill::cli {

// In one line, for --verbose.
std::string Summary(const TreeReport& report);

// A line for each process that has outlived the command, and how it got away.
void SayWhoLeaked(const TreeReport& report);

// Who lives on, if anybody, and how to end it. `name`: of --name.
void SayWhoIsKept(const TreeReport& report, const std::string& name);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_RUN_MESSAGES_H_
