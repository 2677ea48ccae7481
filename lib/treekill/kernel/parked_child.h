// A new process that waits to be released before it executes anything: for who
// has to do something with its pid first.
#ifndef TREEKILL_KERNEL_PARKED_CHILD_H_
#define TREEKILL_KERNEL_PARKED_CHILD_H_

#include <sys/types.h>

#include <memory>

#include "absl/status/statusor.h"
#include "treekill/kernel/child.h"
#include "treekill/kernel/clone.h"
#include "treekill/kernel/fd.h"

namespace treekill::kernel {

class ParkedChild final {
 public:
  // Starts one in our own cgroup. What `plan` points to must live as long as
  // this, and `parent` must be set. It is called "treekill-parked", has every
  // signal blocked, and dies with the calling thread. kUnimplemented where it
  // would not share our memory: see CloneForm.
  static absl::StatusOr<std::unique_ptr<ParkedChild>> Start(
      const ChildPlan& plan);
  // Kills and reaps it if it was not released.
  ~ParkedChild();
  ParkedChild(const ParkedChild&) = delete;
  ParkedChild& operator=(const ParkedChild&) = delete;

  pid_t pid() const { return child_.pid; }

  // Lets it do as its plan says. Returns when it has execed or failed to, and
  // hands it over, as Clone() does. To be called once. No pipe tells of the
  // exec, as a child that another thread forks would hold its end.
  absl::StatusOr<Child> Release();

 private:
  ParkedChild() = default;

  ParkedMemory memory_;
  Child child_;
  // It waits for a byte from there.
  UniqueFd release_;
};

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_PARKED_CHILD_H_
