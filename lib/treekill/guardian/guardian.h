// The guardian: a small process that outlives its supervisor when that is
// killed, ends the trees which the supervisor held, and goes.
//
// It has a session of its own, every signal blocked, "/" as its working
// directory, /dev/null as its standard streams, and no other descriptor than
// those of its work: so it is out of reach of terminals and of what is done to
// its caller's process group, and keeps no file, pipe or mount of the caller
// busy. While nothing happens it sleeps in one poll(2) without a timeout.
#ifndef TREEKILL_GUARDIAN_GUARDIAN_H_
#define TREEKILL_GUARDIAN_GUARDIAN_H_

#include <string>
#include <vector>

#include "treekill/guardian/protocol.h"
#include "treekill/kernel/fd.h"

namespace treekill::guardian {

struct GuardianEnds {
  // Of protocol.h; the supervisor has the other end.
  kernel::UniqueFd channel;
  // The supervisor's pidfd.
  kernel::UniqueFd supervisor;
};

struct GuardianManner {
  // This process is a copy of the supervisor, which sends it few messages: they
  // are left where they are until the supervisor is gone. Else it is a program,
  // which says over the channel that it is there, and reads.
  bool is_copy = false;
  // What a copy knows from the start, as if it had been sent.
  std::vector<Note> notes = {};
  // What ps(1) is to show as the command line, in the place of argv and the
  // environment, which nobody may use then; "" leaves them.
  std::string command_line = {};
};

// Lives the guardian's life in this process, and exits.
[[noreturn]] void RunGuardian(const GuardianEnds& ends,
                              const GuardianManner& manner);

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_GUARDIAN_H_
