// `treekill wait`.
#ifndef TREEKILL_CLI_WAIT_H_
#define TREEKILL_CLI_WAIT_H_

namespace treekill::cli {

// Takes the arguments from "wait" on; returns the exit status.
int WaitMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_WAIT_H_
