#include "treekill/member.h"

namespace treekill {

const char* EscapeName(Escape escape) {
  switch (escape) {
    case Escape::kNewSession:
      return "new-session";
    case Escape::kNewProcessGroup:
      return "new-process-group";
    case Escape::kReparented:
      return "reparented";
    case Escape::kMigrated:
      return "migrated";
    case Escape::kOtherUid:
      return "other-uid";
    case Escape::kIgnoresTerm:
      return "ignores-term";
    case Escape::kHoldsStdout:
      return "holds-stdout";
    case Escape::kHoldsStderr:
      return "holds-stderr";
  }
  return "unknown";
}

}  // namespace treekill
