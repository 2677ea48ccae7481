// `treekill demo`.
#ifndef TREEKILL_CLI_DEMO_H_
#define TREEKILL_CLI_DEMO_H_

namespace treekill::cli {

// Takes the arguments from "demo" on; returns the exit status, or ends this
// process by the signal that has ended the demo.
int DemoMain(int argc, char** argv);

// `demo-guarded`, which is hidden: the demo proper, as the command of a
// `treekill run`.
int DemoGuardedMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DEMO_H_
