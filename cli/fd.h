// Descriptors of the command line tool's own.
#ifndef TREEKILL_CLI_FD_H_
#define TREEKILL_CLI_FD_H_

namespace treekill::cli {

// Moves `fd` up if it took the place of a closed standard stream: what is meant
// for that stream must not go there. Passes -1 and errno on.
int AboveStandardStreams(int fd);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_FD_H_
