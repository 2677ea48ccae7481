// `treekill gc`.
#ifndef TREEKILL_CLI_GC_H_
#define TREEKILL_CLI_GC_H_

namespace treekill::cli {

// Takes the arguments from "gc" on; returns the exit status.
int GcMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_GC_H_
