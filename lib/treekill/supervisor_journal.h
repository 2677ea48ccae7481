// The entries of journal.h: internal to the library.
#ifndef TREEKILL_SUPERVISOR_JOURNAL_H_
#define TREEKILL_SUPERVISOR_JOURNAL_H_

#include "absl/status/status.h"
#include "treekill/supervisor_impl.h"

namespace treekill::internal {

// kNotFound when these options ask for a journal, and there is none.
absl::Status CheckJournal(const TreeOptions& options);

// Does the tree have entries?
bool IsInJournal(const TreeState& tree);

// Each sends one entry if so. What goes wrong is in the report.
void JournalStart(TreeState& tree);
void JournalLeak(TreeState& tree);
void JournalEnd(TreeState& tree);

}  // namespace treekill::internal

#endif  // TREEKILL_SUPERVISOR_JOURNAL_H_
