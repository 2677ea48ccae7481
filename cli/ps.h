// `treekill ps`.
#ifndef TREEKILL_CLI_PS_H_
#define TREEKILL_CLI_PS_H_

namespace treekill::cli {

// Takes the arguments from "ps" on; returns the exit status.
int PsMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_PS_H_
