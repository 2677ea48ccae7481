#include "treekill/guardian/reaper_protocol.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace treekill::guardian {
namespace {

constexpr char kHolds[] = ", holds ";

// What comes first in a packed order; the lists follow in the order of their
// counts.
struct Header {
  uint32_t version = kReaperProtocol;
  uint32_t new_process_group = 0;
  int32_t process_group = 0;
  int32_t parent_death_signal = 0;
  uint32_t no_new_privileges = 0;
  uint32_t kill_on_death = 0;
  uint64_t keep_ignored = 0;
  uint64_t blocked = 0;
  int64_t drain_timeout_ns = 0;
  uint32_t limits = 0;
  // Each is where in the packed order its room is.
  uint32_t pid_texts = 0;
  // Each text is its size, and it with its NUL. Of the directory there is one
  // or none.
  uint32_t directories = 0;
  uint32_t argv = 0;
  uint32_t envp = 0;
  uint32_t paths = 0;
};

template <typename T>
void Append(const T& value, std::string* packed) {
  packed->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendText(const char* text, size_t size, std::string* packed) {
  Append(static_cast<uint64_t>(size), packed);
  packed->append(text, size);
}

uint32_t AppendTexts(const char* const* texts, std::string* packed) {
  uint32_t count = 0;
  for (; texts[count] != nullptr; ++count) {
    AppendText(texts[count], strlen(texts[count]) + 1, packed);
  }
  return count;
}

// Variables with room for a pid at their end, behind their NUL, keep it.
uint32_t AppendEnvironment(const kernel::ChildPlan& plan, std::string* packed,
                           std::vector<uint64_t>* places) {
  uint32_t count = 0;
  for (; plan.envp[count] != nullptr; ++count) {
    const char* variable = plan.envp[count];
    size_t size = strlen(variable) + 1;
    for (int i = 0; i < plan.pid_text_count; ++i) {
      const char* room = plan.pid_texts[i];
      if (room < variable || room >= variable + size) continue;
      places->push_back(packed->size() + sizeof(uint64_t) + (room - variable));
      size = room - variable + kernel::kPidDigits + 1;
      break;
    }
    AppendText(variable, size, packed);
  }
  return count;
}

// Takes a packed order apart, from its start.
class Reader final {
 public:
  explicit Reader(std::string* packed) : packed_(*packed) {}

  template <typename T>
  bool Take(T* value) {
    if (packed_.size() - next_ < sizeof(T)) return false;
    memcpy(value, packed_.data() + next_, sizeof(T));
    next_ += sizeof(T);
    return true;
  }

  template <typename T>
  bool TakeAll(uint32_t count, std::vector<T>* values) {
    for (; count > 0; --count) {
      T value;
      if (!Take(&value)) return false;
      values->push_back(value);
    }
    return true;
  }

  bool TakeTexts(uint32_t count, std::vector<const char*>* texts) {
    for (; count > 0; --count) {
      uint64_t size = 0;
      if (!Take(&size) || size == 0 || size > packed_.size() - next_ ||
          packed_[next_ + size - 1] != '\0') {
        return false;
      }
      texts->push_back(packed_.data() + next_);
      next_ += size;
    }
    texts->push_back(nullptr);
    return true;
  }

 private:
  std::string& packed_;
  size_t next_ = 0;
};

}  // namespace

std::string FormatReaper(pid_t supervisor, const std::string& tree) {
  return absl::StrCat(kReaperCommandLine, supervisor, kHolds, tree);
}

std::optional<std::string> ParseReaper(const std::string& text) {
  size_t holds = text.find(kHolds);
  if (!absl::StartsWith(text, kReaperCommandLine) ||
      holds == std::string::npos) {
    return std::nullopt;
  }
  return text.substr(holds + strlen(kHolds));
}

std::string PackOrder(const ReaperOrder& order) {
  const kernel::ChildPlan& plan = order.plan;
  Header header{
      .new_process_group = plan.new_process_group,
      .process_group = plan.process_group,
      .parent_death_signal = plan.parent_death_signal,
      .no_new_privileges = plan.no_new_privileges,
      .kill_on_death = order.kill_on_death,
      .keep_ignored = plan.keep_ignored,
      .blocked = plan.blocked,
      .drain_timeout_ns = absl::ToInt64Nanoseconds(order.drain_timeout),
      .limits = static_cast<uint32_t>(plan.limit_count),
      .pid_texts = static_cast<uint32_t>(plan.pid_text_count)};
  std::string packed;
  Append(header, &packed);
  for (int i = 0; i < plan.limit_count; ++i) Append(plan.limits[i], &packed);
  const size_t places_at = packed.size();
  packed.resize(places_at + plan.pid_text_count * sizeof(uint64_t));
  if (plan.working_directory != nullptr) {
    const char* const directory[] = {plan.working_directory, nullptr};
    header.directories = AppendTexts(directory, &packed);
  }
  header.argv = AppendTexts(plan.argv, &packed);
  std::vector<uint64_t> places;
  header.envp = AppendEnvironment(plan, &packed, &places);
  header.paths = AppendTexts(plan.paths, &packed);
  memcpy(packed.data(), &header, sizeof(header));
  if (!places.empty()) {
    memcpy(packed.data() + places_at, places.data(),
           places.size() * sizeof(uint64_t));
  }
  return packed;
}

bool OwnedOrder::Unpack() {
  Reader reader(&packed_);
  Header header;
  std::vector<uint64_t> places;
  std::vector<const char*> directories;
  bool complete = reader.Take(&header) && header.version == kReaperProtocol &&
                  reader.TakeAll(header.limits, &limits_) &&
                  reader.TakeAll(header.pid_texts, &places) &&
                  reader.TakeTexts(header.directories, &directories) &&
                  reader.TakeTexts(header.argv, &argv_) &&
                  reader.TakeTexts(header.envp, &envp_) &&
                  reader.TakeTexts(header.paths, &paths_);
  if (!complete || header.argv == 0) return false;
  for (uint64_t place : places) {
    if (place + kernel::kPidDigits >= packed_.size()) return false;
    pid_texts_.push_back(packed_.data() + place);
  }
  // "/bin/sh", the script that is filled in, and its arguments.
  shell_argv_ = argv_;
  shell_argv_.insert(shell_argv_.begin(), kernel::kShell);
  order.kill_on_death = header.kill_on_death != 0;
  order.drain_timeout = absl::Nanoseconds(header.drain_timeout_ns);
  order.plan = {.new_process_group = header.new_process_group != 0,
                .process_group = header.process_group,
                .close_other_fds = false,
                .working_directory = directories[0],
                .limits = limits_.data(),
                .limit_count = static_cast<int>(limits_.size()),
                .parent_death_signal = header.parent_death_signal,
                .no_new_privileges = header.no_new_privileges != 0,
                .keep_ignored = header.keep_ignored,
                .blocked = header.blocked,
                .pid_texts = pid_texts_.data(),
                .pid_text_count = static_cast<int>(pid_texts_.size()),
                .paths = paths_.data(),
                .argv = argv_.data(),
                .envp = envp_.data(),
                .shell_argv = shell_argv_.data()};
  return true;
}

absl::StatusOr<std::unique_ptr<OwnedOrder>> UnpackOrder(std::string packed) {
  std::unique_ptr<OwnedOrder> owned(new OwnedOrder(std::move(packed)));
  if (owned->Unpack()) return owned;
  return absl::InvalidArgumentError("it is of another version");
}

}  // namespace treekill::guardian
