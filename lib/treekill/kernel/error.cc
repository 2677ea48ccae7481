#include "treekill/kernel/error.h"

#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"

namespace treekill::kernel {
namespace {

constexpr char kErrnoPayload[] = "treekill/errno";
constexpr char kCallPayload[] = "treekill/call";
constexpr char kHintPayload[] = "treekill/hint";

// strerror() is not thread-safe; this table of glibc's is.
std::string Describe(int error) {
  const char* text = strerrordesc_np(error);
  return text != nullptr ? text : absl::StrCat("error ", error);
}

absl::Status WithMessage(const absl::Status& status,
                         const std::string& message) {
  absl::Status changed(status.code(), message);
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    changed.SetPayload(url, payload);
  });
  return changed;
}

std::string TextOf(const absl::Status& status, const char* payload_name) {
  absl::optional<absl::Cord> payload = status.GetPayload(payload_name);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status ErrnoStatus(int error, const std::string& call,
                         const std::string& what) {
  absl::Status status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(what, ": ", call, ": ", Describe(error)));
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(error)));
  status.SetPayload(kCallPayload, absl::Cord(call));
  return status;
}

absl::Status WithHint(const absl::Status& status, const std::string& hint) {
  if (hint.empty()) return status;
  absl::Status hinted =
      WithMessage(status, absl::StrCat(status.message(), "; ", hint));
  hinted.SetPayload(kHintPayload, absl::Cord(hint));
  return hinted;
}

absl::Status WithContext(const absl::Status& status,
                         const std::string& context) {
  if (context.empty()) return status;
  return WithMessage(status, absl::StrCat(context, ": ", status.message()));
}

int StatusErrno(const absl::Status& status) {
  absl::optional<absl::Cord> payload = status.GetPayload(kErrnoPayload);
  int error = 0;
  if (payload.has_value()) {
    (void)absl::SimpleAtoi(std::string(*payload), &error);
  }
  return error;
}

std::string StatusCall(const absl::Status& status) {
  return TextOf(status, kCallPayload);
}

std::string StatusHint(const absl::Status& status) {
  return TextOf(status, kHintPayload);
}

}  // namespace treekill::kernel
