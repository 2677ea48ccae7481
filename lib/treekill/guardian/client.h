// The supervisor's side of its guardian.
#ifndef TREEKILL_GUARDIAN_CLIENT_H_
#define TREEKILL_GUARDIAN_CLIENT_H_

#include <sys/types.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "treekill/guardian/protocol.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/fd.h"

namespace treekill::guardian {

// What becomes the guardian.
struct GuardianForm {
  // A copy of this process, which has one thread; else a program.
  bool fork = false;
  // The program's path; "" looks for it: see FindProgram().
  std::string program;
};

// Where the guardian's program is: `given`, else what TREEKILL_GUARDIAN in the
// environment names (not for setuid programs), else where it is installed, else
// where it was built. The error says where it was looked for.
absl::StatusOr<std::string> FindProgram(const std::string& given);

// A running guardian. The destructor dismisses it: it is killed and reaped, and
// what it guarded is left alone. After fork(2) the copy in the child does
// nothing. A message that cannot be sent means that the guardian is gone, or
// does not work any more: replace it.
class Guardian final {
 public:
  // Starts one that knows `notes`. It is out of reach of what is done to our
  // process group from then on.
  static absl::StatusOr<Guardian> Start(const GuardianForm& form,
                                        const std::vector<Note>& notes);
  Guardian(Guardian&&) noexcept = default;
  Guardian& operator=(Guardian&& other) noexcept;
  ~Guardian() { Dismiss(); }

  // Waits until it is known to be a guardian and to work. A copy of this
  // process is that from the start.
  absl::Status AwaitReady();

  // Waits for at most `patience` while it does not read.
  absl::Status Tell(const Note& note, absl::Duration patience);

  pid_t pid() const { return process_.pid; }
  // Readable when it has died.
  int pidfd() const { return process_.pidfd.get(); }

 private:
  Guardian(kernel::Child process, kernel::UniqueFd channel, std::string program)
      : process_(std::move(process)),
        channel_(std::move(channel)),
        program_(std::move(program)),
        ready_(program_.empty()) {}
  void Dismiss();

  kernel::Child process_;
  kernel::UniqueFd channel_;
  // "" for a copy of this process.
  std::string program_;
  bool ready_ = false;
  pid_t owner_ = getpid();
};

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_CLIENT_H_
