// Tables and lines on standard output: cut at a terminal's width, coloured
// there, and left as they are in a pipe.
#ifndef TREEKILL_CLI_TABLE_H_
#define TREEKILL_CLI_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace treekill::cli {

struct Style {
  // Columns of the terminal; 0: there is none, and nothing is cut.
  size_t width = 0;
  bool colours = false;
  // What is drawn may be more than ASCII.
  bool utf8 = false;
};

// Of standard output. The width is COLUMNS, or the terminal's; no colours with
// NO_COLOR (no-color.org) or TERM=dumb; UTF-8 by the locale's name: LC_ALL,
// LC_CTYPE, LANG.
Style StyleOfStdout();

// How many columns a terminal shows printable text in (Printable(), output.h):
// 2 for a wide character, 0 for one that goes on top of another.
size_t Columns(const std::string& text);

// Printable text in no more than `width` columns, with an ellipsis when it was
// cut. Never in the middle of a character.
std::string Cut(const std::string& text, size_t width, bool utf8);

// A command as ps(1) shows it: its arguments, or its name in brackets when it
// has none. Printable, and of no more than 4,096 columns.
std::string CommandText(const std::string& name,
                        const std::vector<std::string>& argv, bool utf8);

class Table final {
 public:
  struct Column {
    std::string title;
    bool to_the_right = false;
  };

  explicit Table(std::vector<Column> columns);

  // Printable texts, one a column.
  void AddRow(std::vector<std::string> cells);
  // Printable text below the last row, across all columns.
  void AddLine(std::string text, bool coloured);

  // The titles, the rows and their lines, each with a newline.
  std::string ToText(const Style& style) const;

 private:
  struct Line {
    // One in a line across all columns.
    std::vector<std::string> cells;
    bool is_row = true;
    bool coloured = false;
  };

  const std::vector<Column> columns_;
  std::vector<Line> lines_;
};

}  // namespace treekill::cli

#endif  // TREEKILL_CLI_TABLE_H_
