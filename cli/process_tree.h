// Processes drawn as a tree below a row of a table.
#ifndef TREEKILL_CLI_PROCESS_TREE_H_
#define TREEKILL_CLI_PROCESS_TREE_H_

#include <vector>

#include "cli/table.h"
#include "treekill/treekill.h"

namespace treekill::cli {

// A line a process: its pid, its state, its command, and in brackets how it
// escaped; those who did are coloured. `members` are oldest first; one whose
// parent is not among them stands at the left.
void DrawTree(const std::vector<Member>& members, const Style& style,
              Table* table);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_PROCESS_TREE_H_
