// Making this process one that stands on its own, out of reach of the terminal
// and of what is done to its caller's process group: setsid(2), prctl(2).
#ifndef TREEKILL_KERNEL_DETACH_H_
#define TREEKILL_KERNEL_DETACH_H_

#include <string>
#include <vector>

namespace treekill::kernel {

// Gives this process "/" as its working directory, connects its standard
// streams to /dev/null and closes every other descriptor but `keep`. What is
// not to be had (no /dev/null) is left out.
void LetGo(std::vector<int> keep);

// The same, after giving it a session of its own.
void Detach(std::vector<int> keep);

// The name that ps(1) and top(1) show: at most 15 bytes.
void SetProcessName(const std::string& name);

// Gives this process the processor before all others, setpriority(2), as far as
// it may: root, mostly. Its children inherit that.
void TakePrecedence();

// Lets this process open as many descriptors as it is allowed to.
void RaiseDescriptorLimit();

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_DETACH_H_
