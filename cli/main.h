// The command line: `treekill SUBCOMMAND ...`.
#ifndef TREEKILL_CLI_MAIN_H_
#define TREEKILL_CLI_MAIN_H_

namespace treekill::cli {

// Runs the subcommand that the arguments name and returns the exit status. May
// end the process by a signal instead, when that is how the command ended.
int Main(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_MAIN_H_
