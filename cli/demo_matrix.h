// What `treekill demo` has seen, and how it is shown.
#ifndef TREEKILL_CLI_DEMO_MATRIX_H_
#define TREEKILL_CLI_DEMO_MATRIX_H_

#include <optional>
#include <string>
#include <vector>

namespace treekill::cli {

// One escapee under one method.
struct Observation {
  // nullopt: it could not be tried, and `reason` says why.
  std::optional<bool> survived;
  std::string reason;
};

struct Matrix {
  std::vector<std::string> escapees;
  std::vector<std::string> methods;
  // One row an escapee, one column a method.
  std::vector<std::vector<Observation>> rows;
  // What is there still: processes and cgroups. Empty, or something is wrong.
  std::vector<std::string> left;
};

// A table with the reasons below it, for people. Safe to print.
std::string MatrixToText(const Matrix& matrix, bool colours);

// One JSON object in one line, without a newline; its fields are a contract,
// version `schema_version` 1, and written down in README.md.
std::string MatrixToJson(const Matrix& matrix);

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_DEMO_MATRIX_H_
