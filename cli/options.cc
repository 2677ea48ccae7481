#include "cli/options.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace treekill::cli {

OptionReader::OptionReader(int argc, char** argv, const char* subcommand,
                           const char* short_options,
                           const struct option* long_options)
    : argc_(argc),
      argv_(argv),
      subcommand_(subcommand),
      short_options_(short_options),
      long_options_(long_options) {
  opterr = 0;
  optind = 0;
}

bool OptionReader::Next() {
  optopt = 0;
  int word = optind == 0 ? 1 : optind;
  int index = -1;
  option_ = getopt_long(argc_, argv_, short_options_, long_options_, &index);
  if (option_ == -1) return false;
  bool is_half_given = index >= 0 && optarg != nullptr && *optarg == '\0' &&
                       long_options_[index].has_arg == optional_argument;
  if (option_ == '?' || option_ == ':' || is_half_given) {
    status_ = Complaint(option_, argv_[word]);
    return false;
  }
  value_ = optarg == nullptr ? "" : optarg;
  return true;
}

std::vector<std::string> OptionReader::rest() const {
  return std::vector<std::string>(argv_ + optind, argv_ + argc_);
}

absl::Status OptionReader::Complaint(int result,
                                     const std::string& word) const {
  bool is_long = absl::StartsWith(word, "--");
  const char* problem = " is not known";
  if (result == ':') {
    problem = " needs a value";
  } else if (result != '?') {
    problem = " has no value behind '='";
  } else if (is_long && optopt != 0) {
    problem = " takes no value";
  }
  // A short option may stand in a bundle: then optopt tells which it is.
  std::string name = is_long ? word.substr(0, word.find('='))
                             : absl::StrCat("-", std::string(1, optopt));
  return absl::InvalidArgumentError(
      absl::StrCat("option ", Quoted(name), problem, "; 'treekill ",
                   subcommand_, " --help' lists them"));
}

absl::StatusOr<JsonCommandLine> ParseJsonCommandLine(int argc, char** argv,
                                                     const char* subcommand) {
  constexpr int kJson = 256;
  constexpr option kOptions[] = {{"json", no_argument, nullptr, kJson},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  JsonCommandLine line;
  OptionReader reader(argc, argv, subcommand, "+:h", kOptions);
  while (reader.Next()) {
    (reader.option() == kJson ? line.json : line.help) = true;
  }
  if (!reader.status().ok()) return reader.status();
  std::vector<std::string> words = reader.rest();
  if (!words.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        subcommand, " takes no arguments, and got ", Quoted(words[0]),
        "; 'treekill ", subcommand, " --help' tells more"));
  }
  return line;
}

}  // namespace treekill::cli
