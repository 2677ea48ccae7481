#include "cli/demo_matrix.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/output.h"

namespace treekill::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kTitle[] =
    "Who lives on when a command is ended, tried on this machine just now:\n\n";
constexpr char kGap[] = "  ";

std::string Padded(const std::string& text, size_t width) {
  return absl::StrCat(text, std::string(width - text.size(), ' '));
}

// A heading a word a line, so that the table fits into 80 columns.
std::vector<std::string> Heading(const std::string& method) {
  std::vector<std::string> words;
  for (absl::string_view part : absl::StrSplit(method, ' ')) {
    std::vector<std::string> pieces = absl::StrSplit(part, '-');
    for (size_t i = 0; i + 1 < pieces.size(); ++i) pieces[i] += '-';
    words.insert(words.end(), pieces.begin(), pieces.end());
  }
  return words;
}

size_t Widest(const std::vector<std::string>& words) {
  size_t width = 0;
  for (const std::string& word : words) width = std::max(width, word.size());
  return width;
}

std::string Word(const Observation& seen) {
  if (!seen.survived.has_value()) return "-";
  return *seen.survived ? "lives" : "dies";
}

std::string Coloured(const Observation& seen, const std::string& text) {
  if (!seen.survived.has_value()) return text;
  return absl::StrCat(*seen.survived ? "\033[31m" : "\033[32m", text,
                      "\033[0m");
}

class Table final {
 public:
  Table(const Matrix& matrix, bool colours)
      : matrix_(matrix),
        colours_(colours),
        first_width_(Widest(matrix.escapees)) {
    for (const std::string& method : matrix.methods) {
      headings_.push_back(Heading(method));
      widths_.push_back(
          std::max(Widest(headings_.back()), std::string("lives").size()));
      lines_ = std::max(lines_, headings_.back().size());
    }
  }

  std::string ToText() const {
    std::string text;
    for (size_t line = 0; line < lines_; ++line) AddHeading(line, &text);
    for (size_t row = 0; row < matrix_.rows.size(); ++row) AddRow(row, &text);
    return text;
  }

 private:
  // The words of a heading stand on the table.
  void AddHeading(size_t line, std::string* text) const {
    std::string whole = Padded("", first_width_);
    for (size_t column = 0; column < headings_.size(); ++column) {
      const std::vector<std::string>& words = headings_[column];
      size_t above = lines_ - words.size();
      absl::StrAppend(
          &whole, kGap,
          Padded(line < above ? "" : words[line - above], widths_[column]));
    }
    absl::StrAppend(text, absl::StripTrailingAsciiWhitespace(whole), "\n");
  }

  void AddRow(size_t row, std::string* text) const {
    absl::StrAppend(text, Padded(matrix_.escapees[row], first_width_));
    for (size_t column = 0; column < widths_.size(); ++column) {
      const Observation& seen = matrix_.rows[row][column];
      std::string word = Word(seen);
      bool last = column + 1 == widths_.size();
      absl::StrAppend(
          text, kGap, colours_ ? Coloured(seen, word) : word,
          std::string(last ? 0 : widths_[column] - word.size(), ' '));
    }
    absl::StrAppend(text, "\n");
  }

  const Matrix& matrix_;
  const bool colours_;
  const size_t first_width_;
  std::vector<std::vector<std::string>> headings_;
  std::vector<size_t> widths_;
  size_t lines_ = 0;
};

// Why the method could not be tried at all; "" when that is not so.
std::string ReasonOfColumn(const Matrix& matrix, size_t column) {
  for (const std::vector<Observation>& row : matrix.rows) {
    if (row[column].survived.has_value()) return "";
  }
  return matrix.rows[0][column].reason;
}

// Whom each reason is about: whole methods first, then escapees.
class Reasons final {
 public:
  explicit Reasons(const Matrix& matrix) : matrix_(matrix) {
    for (size_t column = 0; column < matrix.methods.size(); ++column) {
      told_.push_back(ReasonOfColumn(matrix, column));
      if (!told_.back().empty()) Add(told_.back(), matrix.methods[column]);
    }
    for (size_t row = 0; row < matrix.rows.size(); ++row) AddRow(row);
  }

  std::string ToText() const {
    std::string text;
    for (const std::string& reason : order_) {
      absl::StrAppend(&text, absl::StrJoin(whom_.at(reason), ", "), ": ",
                      Printable(reason), "\n");
    }
    return text;
  }

 private:
  void Add(const std::string& reason, const std::string& whom) {
    if (whom_.count(reason) == 0) order_.push_back(reason);
    whom_[reason].push_back(whom);
  }

  // The methods are named unless it is the same with all that are left.
  void AddRow(size_t row) {
    std::map<std::string, std::vector<std::string>> methods;
    size_t untold = 0;
    for (size_t column = 0; column < matrix_.methods.size(); ++column) {
      const Observation& seen = matrix_.rows[row][column];
      bool told = !seen.reason.empty() && seen.reason == told_[column];
      if (!told) ++untold;
      if (told || seen.survived.has_value()) continue;
      methods[seen.reason].push_back(matrix_.methods[column]);
    }
    for (const auto& [reason, names] : methods) {
      const std::string& escapee = matrix_.escapees[row];
      Add(reason,
          names.size() == untold
              ? escapee
              : absl::StrCat(escapee, " (", absl::StrJoin(names, ", "), ")"));
    }
  }

  const Matrix& matrix_;
  // Of each method; "" for none.
  std::vector<std::string> told_;
  std::vector<std::string> order_;
  std::map<std::string, std::vector<std::string>> whom_;
};

Json ToJson(const std::string& escapee, const std::string& method,
            const Observation& seen) {
  return {{"escapee", escapee},
          {"method", method},
          {"survived",
           seen.survived.has_value() ? Json(*seen.survived) : Json(nullptr)},
          {"reason", seen.reason.empty() ? Json(nullptr) : Json(seen.reason)}};
}

}  // namespace

std::string MatrixToText(const Matrix& matrix, bool colours) {
  std::string reasons = Reasons(matrix).ToText();
  return absl::StrCat(kTitle, Table(matrix, colours).ToText(),
                      reasons.empty() ? "" : "\n", reasons,
                      matrix.left.empty()
                          ? "\nAll that lived on has been killed since.\n"
                          : "");
}

std::string MatrixToJson(const Matrix& matrix) {
  Json results = Json::array();
  for (size_t row = 0; row < matrix.rows.size(); ++row) {
    for (size_t column = 0; column < matrix.methods.size(); ++column) {
      results.push_back(ToJson(matrix.escapees[row], matrix.methods[column],
                               matrix.rows[row][column]));
    }
  }
  Json json = {{"schema_version", 1},
               {"methods", matrix.methods},
               {"escapees", matrix.escapees},
               {"results", results},
               {"left", matrix.left}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace treekill::cli
