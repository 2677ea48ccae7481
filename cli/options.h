// Reading the options of a subcommand: getopt_long(3), with its complaints in
// one line of ours.
#ifndef TREEKILL_CLI_OPTIONS_H_
#define TREEKILL_CLI_OPTIONS_H_

#include <getopt.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace treekill::cli {

// What options take, for StoreOption().
inline constexpr char kTakesDuration[] =
    "a duration such as 1.5, 10s, 1min 30s or inf";
inline constexpr char kTakesSignal[] = "a signal such as TERM, SIGINT or 15";

// Stores what `text` means, or says what the option takes: kInvalidArgument.
template <typename Value>
absl::Status StoreOption(const std::optional<Value>& parsed, const char* option,
                         const std::string& text, const char* takes,
                         Value* value) {
  if (!parsed.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "invalid ", option, " ", Quoted(text), ": it takes ", takes));
  }
  *value = *parsed;
  return absl::OkStatus();
}

// One at a time: getopt_long(3) keeps its state in the process.
class OptionReader final {
 public:
  // Takes the arguments from the subcommand's name on. `short_options` begins
  // with "+:" where the first word that is no option ends them, and with ":"
  // where options may stand behind the words.
  OptionReader(int argc, char** argv, const char* subcommand,
               const char* short_options, const option* long_options);

  // Goes to the next option; false at the end, or when status() is an error.
  bool Next();
  int option() const { return option_; }
  // Of the option; "" without one.
  std::string value() const { return value_; }
  const absl::Status& status() const { return status_; }

  // The words after the options.
  std::vector<std::string> rest() const;

 private:
  absl::Status Complaint(int result, const std::string& word) const;

  const int argc_;
  char** const argv_;
  const char* const subcommand_;
  const char* const short_options_;
  const struct option* const long_options_;
  int option_ = 0;
  std::string value_;
  absl::Status status_;
};

// The command line of a subcommand that takes --json and --help, and no words.
struct JsonCommandLine {
  bool help = false;
  bool json = false;
};
absl::StatusOr<JsonCommandLine> ParseJsonCommandLine(int argc, char** argv,
                                                     const char* subcommand);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_OPTIONS_H_
