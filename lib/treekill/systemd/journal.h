// Entries for systemd's journal, by its native protocol:
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
#ifndef TREEKILL_SYSTEMD_JOURNAL_H_
#define TREEKILL_SYSTEMD_JOURNAL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace treekill::systemd {

constexpr char kJournalSocket[] = "/run/systemd/journal/socket";

// `name` is of upper-case letters, digits and '_', at most 64, and does not
// begin with a digit or '_': the journal drops others. `value` may be any
// bytes.
struct JournalField {
  const char* name;
  std::string value;
};

// Does a journal listen? kNotFound if not. Does not wait.
absl::Status FindJournal(const std::string& socket = kJournalSocket);

// Sends one entry, of any size. kNotFound: there is no journal. While the
// journal does not read, this waits for at most 100 ms and then fails. That it
// was sent does not say that it will be kept: see RateLimitBurst= and others in
// journald.conf(5).
absl::Status SendToJournal(const std::vector<JournalField>& fields,
                           const std::string& socket = kJournalSocket);

}  // namespace treekill::systemd

#endif  // TREEKILL_SYSTEMD_JOURNAL_H_
