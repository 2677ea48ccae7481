// `treekill run`.
#ifndef TREEKILL_CLI_RUN_H_
#define TREEKILL_CLI_RUN_H_

namespace treekill::cli {

// Takes the arguments from "run" on; returns the exit status, or ends this
// process by the signal that ended the command.
int RunMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_RUN_H_
