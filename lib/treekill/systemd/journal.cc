#include "treekill/systemd/journal.h"

#include <cerrno>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "treekill/kernel/channel.h"
#include "treekill/kernel/datagram.h"
#include "treekill/kernel/error.h"

namespace treekill::systemd {
namespace {

constexpr absl::Duration kPatience = absl::Milliseconds(100);

// Where the value's end could not be told by a newline its length goes first.
std::string Serialized(const std::vector<JournalField>& fields) {
  std::string entry;
  for (const JournalField& field : fields) {
    if (field.value.find('\n') == std::string::npos) {
      absl::StrAppend(&entry, field.name, "=", field.value, "\n");
      continue;
    }
    absl::StrAppend(&entry, field.name, "\n");
    for (uint64_t i = 0, left = field.value.size(); i < sizeof(left); ++i) {
      entry += static_cast<char>(left & 0xff);
      left >>= 8;
    }
    absl::StrAppend(&entry, field.value, "\n");
  }
  return entry;
}

absl::StatusOr<kernel::UniqueFd> Connect(const std::string& socket) {
  absl::StatusOr<kernel::UniqueFd> journal = kernel::ConnectDatagram(socket);
  int error = kernel::StatusErrno(journal.status());
  if (error != ENOENT && error != ECONNREFUSED) return journal;
  return absl::NotFoundError(
      absl::StrCat("there is no journal: ", journal.status().message()));
}

}  // namespace

absl::Status FindJournal(const std::string& socket) {
  return Connect(socket).status();
}

absl::Status SendToJournal(const std::vector<JournalField>& fields,
                           const std::string& socket) {
  absl::StatusOr<kernel::UniqueFd> journal = Connect(socket);
  if (!journal.ok()) return journal.status();
  std::string entry = Serialized(fields);
  absl::Status sent =
      kernel::Send(journal->get(), entry.data(), entry.size(), {}, kPatience);
  int error = kernel::StatusErrno(sent);
  if (error == EMSGSIZE || error == ENOBUFS) {
    absl::StatusOr<kernel::UniqueFd> file =
        kernel::SealedFile("treekill-journal-entry", entry);
    if (!file.ok()) return file.status();
    sent = kernel::Send(journal->get(), "", 0, {file->get()}, kPatience);
  }
  if (sent.ok()) return sent;
  return kernel::WithContext(sent, absl::StrCat("cannot write to ", socket));
}

}  // namespace treekill::systemd
