#include "treekill/guardian_entry.h"

#include <unistd.h>

#include "treekill/guardian/client.h"
#include "treekill/guardian/guardian.h"

namespace treekill {

void RunIfGuardian(int argc, char** argv) {
  if (guardian::IsGuardianCommandLine(argc, argv)) {
    _exit(guardian::GuardianMain());
  }
}

}  // namespace treekill
