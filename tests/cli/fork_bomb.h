// A fork bomb that leaves a processor to the one that is to end it: one that
// keeps them all busy can outrun treekill where there is no cgroup.
#ifndef TREEKILL_TESTS_CLI_FORK_BOMB_H_
#define TREEKILL_TESTS_CLI_FORK_BOMB_H_

#include <sched.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/cli/fixture.h"

namespace treekill::rig {

// The words of it. `lineages` chains of processes, of which each forks the next
// one and ends, half of them in sessions of their own; all on one processor.
inline Arguments ForkBomb(int lineages, const std::string& cookie,
                          const std::string& ready) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  int processor = 0;
  while (processor < CPU_SETSIZE - 1 && !CPU_ISSET(processor, &allowed)) {
    ++processor;
  }
  return {"taskset",
          "-c",
          absl::StrCat(processor),
          EscapeePath(),
          "fork-bomb",
          "--cookie=" + cookie,
          "--ready=" + ready,
          absl::StrCat("--count=", lineages),
          "--then=stay"};
}

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_CLI_FORK_BOMB_H_
