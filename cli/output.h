// What the command line tool prints, and the exit statuses of its own.
#ifndef TREEKILL_CLI_OUTPUT_H_
#define TREEKILL_CLI_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/bounded_write.h"
#include "treekill/report.h"

namespace treekill::cli {

// As timeout(1) and env(1) have them.
constexpr int kSurvivors = 122;
constexpr int kLeaked = 123;
constexpr int kTimedOut = 124;
constexpr int kOwnFailure = 125;
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;

// Prints "treekill: `text`" in one line on standard error. Control characters
// in it are made visible.
void Message(const std::string& text);

// From now on a message is dropped when nobody reads standard error for so
// long; and others after it at once, until one of them can be written.
void LimitMessages(const Patience& patience);

// `text` with control and format characters (such as one that turns the line
// around) and bytes that are not UTF-8 escaped, so that it can do nothing to a
// terminal.
std::string Printable(const std::string& text);

// The same in single quotes.
std::string Quoted(const std::string& text);

// "12 (sh), 13 (sleep)", of the first twenty: not yet safe to print.
std::string Names(const std::vector<Member>& members);

// "pid 12 (sh) survives SIGKILL: state D in nfs_wait": not yet safe to print.
std::string SurvivorText(const Member& member);

// "new-session, reparented"; "" for none.
std::string EscapesOf(const Member& member);

// The message of `status` without the hint at its end: see HintOf().
std::string ReasonOf(const absl::Status& status);

// Says what `status` is about; returns kOwnFailure.
int Fail(const absl::Status& status);

// Prints `text` on standard output; returns the exit status: 0, or kOwnFailure
// when it could not be written.
int PrintToStdout(const std::string& text);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_OUTPUT_H_
