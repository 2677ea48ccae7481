// A file that the command line tool writes what it has to say to.
#ifndef TREEKILL_CLI_OUTPUT_FILE_H_
#define TREEKILL_CLI_OUTPUT_FILE_H_

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "cli/bounded_write.h"

namespace treekill::cli {

class OutputFile final {
 public:
  // `where` is a file, which is made empty, or "fd:N", which the command does
  // not get if it is no standard stream; "" opens nothing. Blocks until a FIFO
  // has a reader. kInvalidArgument, with one line for the user, when it cannot
  // be opened: `option` is where it was named, `content` what is to be written.
  absl::Status Open(const std::string& where, const char* option,
                    const char* content);

  // Writes all of it and closes the file. An error, with one line for the user,
  // when something is missing. Nothing is done when nothing is open.
  absl::Status Write(const std::string& text, const Patience& patience = {});

 private:
  std::string where_;
  const char* content_ = "";
  std::unique_ptr<FILE, int (*)(FILE*)> file_{nullptr, fclose};
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_OUTPUT_FILE_H_
