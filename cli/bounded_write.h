// Writes to a descriptor of others, which may have no reader.
#ifndef TREEKILL_CLI_BOUNDED_WRITE_H_
#define TREEKILL_CLI_BOUNDED_WRITE_H_

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace treekill::cli {

// How long a writer waits for a reader.
struct Patience {
  absl::Duration time = absl::InfiniteDuration();
  // A descriptor that ends it when it is readable; -1: none.
  int end_fd = -1;
};

// Writes all of `text`, in one piece if it is no longer than PIPE_BUF. Returns
// 0 or an errno: ETIMEDOUT when the patience was over. Before Linux 6.4 a write
// to a pipe may still block if another writer fills it just then.
int WriteWithin(int fd, absl::string_view text, const Patience& patience);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_BOUNDED_WRITE_H_
