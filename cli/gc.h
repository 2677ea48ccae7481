// `treekill gc`.
#ifndef TREEKILL_CLI_GC_H_
#define TREEKILL_CLI_GC_H_

#include <string>
#include <vector>

#include "treekill/gc.h"

namespace treekill::cli {

// Takes the arguments from "gc" on; returns the exit status.
int GcMain(int argc, char** argv);

// One line, safe to print, on what was done with a leaf, or would be.
std::string GarbageToText(const Garbage& garbage, bool dry_run);

// Says on standard error what could not be ended; returns the exit status.
int SayWhatIsLeft(const std::vector<Garbage>& garbage);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_GC_H_
