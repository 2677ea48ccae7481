// The processes that `treekill demo` tries to end, and the daemon that
// `treekill doctor` starts: a hidden subcommand, so that the program is one
// file and what it starts is itself.
#ifndef TREEKILL_CLI_DEMO_ESCAPEE_H_
#define TREEKILL_CLI_DEMO_ESCAPEE_H_

namespace treekill::cli {

// `demo-escapee [parent] MODE FD [PLACE]`: is the command of one trial, and
// starts that trial's escapee as MODE says. Once the escapee is where it wants
// to be, one line is written to FD: "PID" or "PID CGROUP", with the cgroup that
// it has made; or "- REASON" where this machine does not let it get there. With
// `parent` it is not the command, but starts the command with
// PR_SET_PDEATHSIG. Each process ends by itself after some minutes.
//
// PLACE: the cgroup to move to, or the descriptor of the setuid program.
int DemoEscapeeMain(int argc, char** argv);

// Is this program a setuid file that has given us its owner's rights? To be
// asked first of all: it must be good for nothing but the demo's trial.
bool IsSetuidProgram();

// The setuid program of that trial: FD is the last argument.
int DemoSetuidMain(int argc, char** argv);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DEMO_ESCAPEE_H_
