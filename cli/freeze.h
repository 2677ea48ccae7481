// `treekill freeze` and `treekill thaw`.
#ifndef TREEKILL_CLI_FREEZE_H_
#define TREEKILL_CLI_FREEZE_H_

namespace treekill::cli {

// Take the arguments from "freeze" or "thaw" on; return the exit status.
int FreezeMain(int argc, char** argv);
int ThawMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_FREEZE_H_
