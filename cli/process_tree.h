// Processes drawn as a tree.
#ifndef TREEKILL_CLI_PROCESS_TREE_H_
#define TREEKILL_CLI_PROCESS_TREE_H_

#include <string>
#include <vector>

#include "cli/table.h"
#include "treekill/treekill.h"

namespace treekill::cli {

struct Strokes {
  const char* child;
  const char* last_child;
  const char* beside;
  const char* below_last;
};

// What is drawn before a process: the branch that it hangs on, and the trunks
// that go on beside the lines below it.
struct Branch {
  std::string own;
  std::string below;
};

// Of processes in the order of their tree, by their depths in it. Those deeper
// than `deepest` are drawn no further to the right.
std::vector<Branch> DrawBranches(const std::vector<int>& depths,
                                 const Strokes& strokes, int deepest);

// Below a row of the table a line a process: its pid, its state, its command,
// and in brackets how it escaped; those who did are coloured. `members` are
// oldest first; one whose parent is not among them stands at the left.
void DrawTree(const std::vector<Member>& members, const Style& style,
              Table* table);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_PROCESS_TREE_H_
