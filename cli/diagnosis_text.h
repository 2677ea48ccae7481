// What is printed of a command that has timed out.
#ifndef TREEKILL_CLI_DIAGNOSIS_TEXT_H_
#define TREEKILL_CLI_DIAGNOSIS_TEXT_H_

#include <string>

#include "treekill/diagnosis.h"

namespace treekill::cli {

// Lines for a person: who timed out, and its processes as a tree, each with
// what it waits for. Safe to print; `command` need not be.
std::string DiagnosisText(const Diagnosis& diagnosis,
                          const std::string& command);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DIAGNOSIS_TEXT_H_
