// The supervisor's side of its guardian.
#ifndef TREEKILL_GUARDIAN_CLIENT_H_
#define TREEKILL_GUARDIAN_CLIENT_H_

#include <sys/types.h>
#include <unistd.h>

#include <memory>
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
  // The program's path; "" looks for it: see FindProgram().
  std::string program;
  // It executes the program some milliseconds later only: see CloneParked().
  // That the program is a guardian's must be known.
  bool parked = false;
};

// Is this the command line of a process that a supervisor has started as its
// guardian?
bool IsGuardianCommandLine(int argc, const char* const* argv);

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
  Guardian(Guardian&&) noexcept;
  Guardian& operator=(Guardian&& other) noexcept;
  ~Guardian();

  // Waits until it is known to be a guardian and to work. Of one that was
  // parked that is known from the start.
  absl::Status AwaitReady();

  // Waits for at most `patience` while it does not read.
  absl::Status Tell(const Note& note, absl::Duration patience);

  // What the destructor begins with. It does not wait until it is dead.
  void Kill();

  pid_t pid() const { return process_.pid; }
  // Readable when it has died.
  int pidfd() const { return process_.pidfd.get(); }

 private:
  // What the new process reads until it has executed its program.
  struct Launch;

  Guardian(kernel::Child process, kernel::UniqueFd channel,
           std::unique_ptr<Launch> launch);
  void Dismiss();

  kernel::Child process_;
  kernel::UniqueFd channel_;
  std::unique_ptr<Launch> launch_;
  bool ready_ = false;
  bool killed_ = false;
  pid_t owner_ = getpid();
};

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_CLIENT_H_
