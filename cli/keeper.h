// `treekill keeper`.
#ifndef TREEKILL_CLI_KEEPER_H_
#define TREEKILL_CLI_KEEPER_H_

namespace treekill::cli {

// Takes the arguments from "keeper" on; returns the exit status.
int KeeperMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_KEEPER_H_
