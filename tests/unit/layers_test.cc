// The walls of the house: includes point down, system calls live in one place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/rig/rig.h"

namespace treekill {
namespace {

namespace fs = std::filesystem;

const fs::path& Source() {
  static const auto* source = new fs::path(rig::SourceFolder());
  return *source;
}

// The floor of a folder, as includes name it. Two folders of the same floor do
// not know each other.
const std::map<std::string, int>& Floors() {
  static const auto* floors =
      new std::map<std::string, int>{{"treekill/kernel", 1},
                                     {"treekill/systemd", 1},
                                     {"treekill/containment", 2},
                                     {"treekill/guardian", 2},
                                     {"treekill", 3},
                                     {"cli", 4}};
  return *floors;
}

struct Include {
  std::string file;
  std::string from;
  std::string to;
  std::string text;
};

std::vector<Include> AllIncludes() {
  std::vector<Include> includes;
  for (const char* root : {"lib", "cli"}) {
    fs::path top = Source() / root;
    fs::path base = root == std::string("lib") ? top : Source();
    for (const auto& entry : fs::recursive_directory_iterator(top)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) {
        if (!absl::StartsWith(line, "#include ")) continue;
        std::string text = line.substr(10, line.find_last_of("\">") - 10);
        includes.push_back(
            {entry.path().string(),
             fs::relative(entry.path(), base).parent_path().string(),
             line[9] == '"' ? fs::path(text).parent_path().string() : "",
             text});
      }
    }
  }
  return includes;
}

TEST(Layers, IncludesPointDown) {
  std::vector<Include> includes = AllIncludes();
  ASSERT_GT(includes.size(), 100u);
  for (const Include& include : includes) {
    auto to = Floors().find(include.to);
    if (to == Floors().end() || include.from == include.to) continue;
    auto from = Floors().find(include.from);
    ASSERT_NE(from, Floors().end()) << include.file;
    // systemd/ stands on kernel/: both are of the lowest floor. And guardian/
    // on containment/, which it carries on.
    bool beside = include.to == "treekill/kernel" ||
                  (include.from == "treekill/guardian" &&
                   include.to == "treekill/containment");
    EXPECT_TRUE(from->second > to->second || beside)
        << include.file << " includes " << include.text;
  }
}

TEST(Layers, TheCommandLineUsesThePublicInterfaceOnly) {
  for (const Include& include : AllIncludes()) {
    if (include.from != "cli") continue;
    // Its own signal mask is no matter of trees, and needs a raw system call.
    if (include.text == "treekill/kernel/signals.h") continue;
    // Nor are its own time limits, which a test sets.
    if (include.text == "treekill/kernel/time_limit.h") continue;
    EXPECT_FALSE(absl::StartsWith(include.to, "treekill/"))
        << include.file << " includes " << include.text;
  }
}

TEST(Layers, RawSystemCallsAreInKernel) {
  for (const Include& include : AllIncludes()) {
    if (include.text != "sys/syscall.h") continue;
    EXPECT_EQ(include.from, "treekill/kernel") << include.file;
  }
}

TEST(Layers, FilesAreShort) {
  for (const char* root : {"lib", "cli", "tests"}) {
    for (const auto& entry :
         fs::recursive_directory_iterator(Source() / root)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path());
      int lines = 0;
      for (std::string line; std::getline(file, line);) ++lines;
      EXPECT_LE(lines, 500) << entry.path();
    }
  }
}

}  // namespace
}  // namespace treekill
