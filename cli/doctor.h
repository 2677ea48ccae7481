// `treekill doctor`.
#ifndef TREEKILL_CLI_DOCTOR_H_
#define TREEKILL_CLI_DOCTOR_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "treekill/host.h"

namespace treekill::cli {

// Takes the arguments from "doctor" on; returns the exit status.
int DoctorMain(int argc, char** argv);

// One containment here: whether a tree was held and ended by it.
struct Rung {
  std::string name;
  // Why not.
  absl::Status status;
  // What would give it; "" when it works, or nothing is known that would.
  std::string fix;
};

struct Diagnosis {
  HostInfo host;
  // The strongest first.
  std::vector<Rung> rungs;

  // The first that works; nullptr without one.
  const Rung* Best() const;
  // Is everything held that a command starts, whatever it is?
  bool IsHealthy() const;
};

// For people; safe to print.
std::string DiagnosisToText(const Diagnosis& diagnosis);

// One JSON object in one line, without a newline; its fields are a contract,
// version `schema_version` 1, and written down in README.md.
std::string DiagnosisToJson(const Diagnosis& diagnosis);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DOCTOR_H_
