// `treekill kill`.
#ifndef TREEKILL_CLI_KILL_H_
#define TREEKILL_CLI_KILL_H_

namespace treekill::cli {

// Takes the arguments from "kill" on; returns the exit status.
int KillMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_KILL_H_
