// The names of systemd's units, as systemd.unit(5) and systemd-escape(1) have
// them. Nothing here asks the service manager.
#ifndef TREEKILL_SYSTEMD_UNIT_NAME_H_
#define TREEKILL_SYSTEMD_UNIT_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace treekill::systemd {

// The one unit, not a template of units, that a user means by `text`: `text`
// itself when it ends in a type of unit, whichever that is, or else with
// `suffix` (".scope") after it, as systemctl(1) does. At most 255 bytes. Where
// systemctl escapes a bad character, this refuses it (kInvalidArgument) and
// says how to escape it.
absl::StatusOr<std::string> UnitNameFromUser(absl::string_view text,
                                             absl::string_view suffix);

// As `systemd-escape TEXT`, but for any bytes: what comes out may stand in a
// unit's name, and says where in a slice's name "/" was by "-".
std::string EscapeForUnitName(absl::string_view text);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_UNIT_NAME_H_
