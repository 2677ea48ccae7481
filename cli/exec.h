// `treekill exec`.
#ifndef TREEKILL_CLI_EXEC_H_
#define TREEKILL_CLI_EXEC_H_

namespace treekill::cli {

// Takes the arguments from "exec" on. Returns the exit status when the command
// cannot be executed.
int ExecMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_EXEC_H_
