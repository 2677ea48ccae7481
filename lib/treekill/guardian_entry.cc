#include "treekill/guardian_entry.h"

#include <unistd.h>

#include "treekill/guardian/client.h"
#include "treekill/guardian/guardian.h"
#include "treekill/guardian/reaper.h"

namespace treekill {

void RunIfGuardian(int argc, char** argv) {
  if (guardian::IsGuardianCommandLine(argc, argv)) {
    _exit(guardian::GuardianMain());
  }
  if (guardian::IsReaperCommandLine(argc, argv)) {
    _exit(guardian::ReaperMain(argc, argv));
  }
}

}  // namespace treekill
