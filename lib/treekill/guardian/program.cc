// treekill-guardian: the guardian, or a reaper, as a program of its own, so
// that a large or multi-threaded host is never copied. See client.cc and
// reaper_client.cc for who starts it.
#include "treekill/guardian/guardian.h"
#include "treekill/guardian/reaper.h"

int main(int argc, char** argv) {
  using namespace treekill::guardian;  // NOLINT(google-build-using-namespace)
  return IsReaperCommandLine(argc, argv) ? ReaperMain(argc, argv)
                                         : GuardianMain();
}
