// The guardian: a small process that outlives its supervisor when that is
// killed, ends the trees which the supervisor held, and goes.
//
// It has a session of its own, every signal blocked, "/" as its working
// directory, /dev/null as its standard streams, and no other descriptor than
// those of its work: so it is out of reach of terminals and of what is done to
// its caller's process group, and keeps no file, pipe or mount of the caller
// busy. While nothing happens it sleeps in one poll(2) without a timeout.
//
// One that is parked (CloneParked()) becomes that some milliseconds later.
// Until then it has every signal blocked and a process group of its own, and
// holds what its supervisor holds, as long as that lives.
#ifndef TREEKILL_GUARDIAN_GUARDIAN_H_
#define TREEKILL_GUARDIAN_GUARDIAN_H_

#include "treekill/kernel/fd.h"

namespace treekill::guardian {

struct GuardianEnds {
  // Of protocol.h; the supervisor has the other end.
  kernel::UniqueFd channel;
  // The supervisor's pidfd.
  kernel::UniqueFd supervisor;
};

// Lives the guardian's life in this process, and exits.
[[noreturn]] void RunGuardian(const GuardianEnds& ends);

// The same with the descriptors of protocol.h, if they are what a supervisor
// leaves there. Else says so on standard error, and returns the exit status.
int GuardianMain();

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_GUARDIAN_H_
