// What treekill itself depends on: --die-with-parent and --lifeline.
#ifndef TREEKILL_CLI_LIFELINES_H_
#define TREEKILL_CLI_LIFELINES_H_

#include <sys/types.h>

#include "absl/status/status.h"

namespace treekill::cli {

// Watches the process that has started this one: by its pidfd, so that neither
// the end of the thread which did it nor a reused pid is taken for its death.
class ParentWatch final {
 public:
  // With `expected` not 0, that is who must be the parent: one that died before
  // this call has left us to another. The parent in another PID namespace is
  // watched by PR_SET_PDEATHSIG instead, which sends this process `signal` when
  // the *thread* ends that has started it.
  absl::Status Start(pid_t expected, int signal);
  ~ParentWatch() { Stop(); }
  void Stop();

  // Readable when the parent is dead; -1 when it is not watched.
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

// Checks that the end of the other side of `fd`, a pipe, FIFO or socket, can be
// seen there by poll(2) with kLifelineEvents, and keeps the command from
// getting the descriptor, if it is no standard stream.
absl::Status PrepareLifeline(int fd);
extern const short kLifelineEvents;  // NOLINT: poll(2)'s own type

// Did poll(2) say that the other side has gone?
bool LifelineClosed(short events);  // NOLINT

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_LIFELINES_H_
