// Symbolic links as a place to leave a word: symlink(7).
#ifndef TREEKILL_KERNEL_LINK_H_
#define TREEKILL_KERNEL_LINK_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace treekill::kernel {

// What the link `path` says; kNotFound without one, kPermissionDenied when it
// is another user's than `owner`.
absl::StatusOr<std::string> ReadLinkOf(uid_t owner, const std::string& path);

// Makes the link `path` say `target`, in one step where there is one already.
// Its directory is made if need be.
absl::Status SetLink(const std::string& path, const std::string& target);

// Removes the link `path` if it says `target`.
void RemoveLink(const std::string& path, const std::string& target);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_LINK_H_
