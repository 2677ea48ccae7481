// A file that the command line tool writes what it has to say to.
#ifndef TREEKILL_CLI_OUTPUT_FILE_H_
#define TREEKILL_CLI_OUTPUT_FILE_H_

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace treekill::cli {

class OutputFile final {
 public:
  // `where` is a file, which is made empty, or "fd:N", which the command does
  // not get if it is no standard stream; "" opens nothing. Blocks until a FIFO
  // has a reader. kInvalidArgument, with one line for the user, when it cannot
  // be opened: `option` is where it was named, `content` what is to be written.
  absl::Status Open(const std::string& where, const char* option,
                    const char* content);

  // Writes all of it and closes the file; gives up when that takes longer than
  // `patience`, because nobody reads. Returns false when something is missing.
  // Nothing is done when nothing is open.
  bool Write(const std::string& text,
             absl::Duration patience = absl::InfiniteDuration());

 private:
  std::unique_ptr<FILE, int (*)(FILE*)> file_{nullptr, fclose};
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_OUTPUT_FILE_H_
