#include "treekill/run.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "treekill/kernel/error.h"
#include "treekill/kernel/fd.h"
#include "treekill/kernel/syscalls.h"

namespace treekill {
namespace {

// The reading end of a pipe, and what came out of it.
class Capture final {
 public:
  explicit Capture(size_t limit) : limit_(limit) {}

  // Returns the writing end, for the command.
  absl::StatusOr<kernel::UniqueFd> Open() {
    int fds[2];
    if (kernel::Pipe(fds) < 0) {
      return kernel::ErrnoStatus(errno, "pipe2", "cannot take the output");
    }
    reader_.reset(fds[0]);
    kernel::UniqueFd writer(fds[1]);
    if (fcntl(reader_.get(), F_SETFL, O_NONBLOCK) < 0) {
      return kernel::ErrnoStatus(errno, "fcntl", "cannot take the output");
    }
    return writer;
  }

  // Takes a part of what is there, without waiting for more: writers that are
  // faster than we are must not keep us from the tree.
  void Read() {
    constexpr int kMaxReads = 16;
    char buffer[64 * 1024];
    for (int i = 0; i < kMaxReads && reader_.valid(); ++i) {
      ssize_t count = kernel::Read(reader_.get(), buffer, sizeof(buffer));
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) {
        reader_.reset();
        return;
      }
      size_t taken = std::min<size_t>(count, limit_ - text_.size());
      text_.append(buffer, taken);
      truncated_ = truncated_ || taken < static_cast<size_t>(count);
    }
  }

  int fd() const { return reader_.get(); }
  bool truncated() const { return truncated_; }
  std::string Take() { return std::move(text_); }

 private:
  const size_t limit_;
  kernel::UniqueFd reader_;
  std::string text_;
  bool truncated_ = false;
};

}  // namespace

absl::StatusOr<RunResult> Run(Supervisor& supervisor, const Command& command,
                              const RunOptions& options) {
  if (!command.stdout_.inherits() || !command.stderr_.inherits()) {
    return absl::InvalidArgumentError(
        "Run() takes the output itself: stdout_ and stderr_ must be left "
        "alone");
  }
  Capture output(options.max_output);
  Capture errors(options.max_output);
  absl::StatusOr<Tree> tree;
  {
    absl::StatusOr<kernel::UniqueFd> output_writer = output.Open();
    if (!output_writer.ok()) return output_writer.status();
    absl::StatusOr<kernel::UniqueFd> errors_writer = errors.Open();
    if (!errors_writer.ok()) return errors_writer.status();
    Command captured = command;
    captured.stdout_ = Stream::Fd(output_writer->get());
    captured.stderr_ = Stream::Fd(errors_writer->get());
    tree = supervisor.Spawn(captured, options.tree);
  }
  if (!tree.ok()) return tree.status();
  while (!tree->ended()) {
    // poll(2) passes over the -1 of a pipe that has been closed.
    pollfd fds[] = {{supervisor.fd(), POLLIN, 0},
                    {output.fd(), POLLIN, 0},
                    {errors.fd(), POLLIN, 0}};
    if (kernel::Poll(fds, std::size(fds), -1) < 0 && errno != EINTR) {
      return kernel::ErrnoStatus(errno, "poll", "cannot wait for the command");
    }
    output.Read();
    errors.Read();
    absl::Status served = supervisor.Dispatch();
    if (!served.ok()) return served;
  }
  output.Read();
  errors.Read();
  RunResult result;
  result.report = tree->report();
  result.truncated = output.truncated() || errors.truncated();
  result.output = output.Take();
  result.errors = errors.Take();
  return result;
}

absl::StatusOr<RunResult> Run(const Command& command,
                              const RunOptions& options) {
  absl::StatusOr<Supervisor> supervisor = Supervisor::Create();
  if (!supervisor.ok()) return supervisor.status();
  return Run(*supervisor, command, options);
}

}  // namespace treekill
