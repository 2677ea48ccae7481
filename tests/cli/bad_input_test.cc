// What makes no sense is refused in one line, and nothing is started.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/cli/fixture.h"

namespace treekill::rig {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class BadInputTest : public CliTest {
 protected:
  // `arguments` are all behind the program's name.
  void ExpectRefused(Arguments arguments) {
    std::string shown;
    for (const std::string& argument : arguments) {
      absl::StrAppend(&shown, "[", argument.substr(0, 40), "]");
    }
    SCOPED_TRACE(shown);
    arguments.insert(arguments.begin(), TreekillPath());
    Outcome outcome = Start(arguments)->Wait();
    EXPECT_EQ(outcome.exit_code(), 125);
    EXPECT_EQ(outcome.output, "");
    const std::string& errors = outcome.errors;
    EXPECT_THAT(errors, StartsWith("treekill: "));
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
    EXPECT_TRUE(!errors.empty() && errors.back() == '\n') << errors;
    EXPECT_FALSE(std::any_of(errors.begin(), errors.end(), [](char c) {
      return (c >= 0 && c < ' ' && c != '\n') || c == '\x7f';
    })) << errors;
    EXPECT_NE(access(made_.c_str(), F_OK), 0) << "the command was started";
    EXPECT_THAT(FindByCookie(cookie()), IsEmpty());
    EXPECT_THAT(LeftLeaves(), IsEmpty());
  }

  // `treekill run OPTIONS -- touch FILE`.
  void ExpectRunRefused(Arguments options) {
    options.insert(options.begin(), "run");
    options.insert(options.end(), {"--", "touch", made_});
    ExpectRefused(options);
  }

  const std::string made_ = File("made");
};

TEST_F(BadInputTest, Command) {
  ExpectRefused({});
  ExpectRefused({"run"});
  ExpectRefused({"run", "--"});
  ExpectRefused({"run", "--timeout=5"});
  ExpectRefused({"run", ""});
  ExpectRefused({"run", "--", ""});
  ExpectRefused({"run", "--", "", "x"});
}

TEST_F(BadInputTest, Subcommand) {
  ExpectRefused({"no-such-subcommand"});
  ExpectRefused({""});
  ExpectRefused({"RUN", "true"});
  ExpectRefused({"--no-such-option"});
  ExpectRefused({"-v", "run", "true"});
  ExpectRefused({"\x1b[31mred\x1b[0m\n\r\x07"});
  ExpectRefused({std::string(100000, 'x')});
}

TEST_F(BadInputTest, UnknownOptions) {
  ExpectRunRefused({"--no-such-option"});
  ExpectRunRefused({"--no-such-option=5"});
  ExpectRunRefused({"--\x1b[2J\n"});
  ExpectRunRefused({"--verbose=1"});
  ExpectRunRefused({"--preserve-status=1"});
  ExpectRunRefused({"--help=1"});
  ExpectRunRefused({"-z"});
  ExpectRunRefused({"-vz"});
  ExpectRunRefused({"-v\n"});
  ExpectRunRefused({"-v\xff"});
  // Two that begin so: it is neither.
  ExpectRunRefused({"--k=5"});
  ExpectRefused({"run", "--timeout"});
  ExpectRefused({"run", "-k"});
  ExpectRefused({"run", "-vk"});
}

TEST_F(BadInputTest, OptionIsNamed) {
  for (const auto& [word, named] :
       {std::pair("--no-such-option", "'--no-such-option'"),
        std::pair("-vz", "'-z'"), std::pair("--verbose=1", "--verbose"),
        std::pair("--help=1", "--help")}) {
    EXPECT_THAT(Run({word, "true"}).errors, HasSubstr(named));
  }
}

TEST_F(BadInputTest, Durations) {
  for (const char* text :
       {"-1", "5x", "1e400", "nan", "", " ", ".", "1.2.3", "0x", "-inf", "s",
        "5 s s", "1 30s", "5s-", "99999999999999999999d", "5\n;", "\x1b[2J"}) {
    ExpectRunRefused({absl::StrCat("--timeout=", text)});
    ExpectRunRefused({absl::StrCat("--kill-after=", text)});
    ExpectRunRefused({"-k", text});
  }
  ExpectRunRefused({"-kgarbage"});
  ExpectRunRefused({"--timeout=" + std::string(100000, '9')});
}

TEST_F(BadInputTest, Signals) {
  for (const char* text : {"0", "99", "FOO", "", "SIG", "-1", "1x", "RTMIN+99",
                           "RTMAX+1", "65", "99999999999999", "TERM\n"}) {
    ExpectRunRefused({"-s", text});
    ExpectRunRefused({absl::StrCat("--signal=", text)});
  }
}

TEST_F(BadInputTest, Words) {
  for (const char* text : {"", "no-such", "CGROUP", "cgroup ", "\x1b[2J"}) {
    ExpectRunRefused({absl::StrCat("--containment=", text)});
    ExpectRunRefused({absl::StrCat("--require=", text)});
    ExpectRunRefused({absl::StrCat("--kill-mode=", text)});
  }
}

TEST_F(BadInputTest, Names) {
  for (const char* text :
       {"/", "a/b", "../x", "..", ".", ".x", "-x", "a b", "a\nb", "a\x1b[2J",
        "\x7f", "\xff", "na\xc3\xafve"}) {
    ExpectRunRefused({absl::StrCat("--name=", text)});
  }
  ExpectRunRefused({"--name=" + std::string(300, 'x')});
}

TEST_F(BadInputTest, Folders) {
  ExpectRunRefused({"--chdir=/no/such/folder"});
  ExpectRunRefused({"-C", "/etc/passwd"});
  ExpectRunRefused({"-C", "/no/\x1b[2J\n"});
}

TEST_F(BadInputTest, ValuesThatMayBeLeftOut) {
  for (const char* option :
       {"--dump-on-timeout=", "--journal=", "--die-with-parent="}) {
    ExpectRunRefused({option});
  }
}

TEST_F(BadInputTest, Reports) {
  for (const char* text :
       {"/no/such/folder/report", "/", "/no/\x1b[2J\n", "fd:99", "fd:x",
        "fd:", "fd:-1", "fd:1x", "fd:99999999999", "fd: 1x"}) {
    ExpectRunRefused({absl::StrCat("--report=", text)});
  }
  // Standard input is there, and cannot be written.
  ExpectRunRefused({"--report=fd:0"});
}

TEST_F(BadInputTest, HelpAndVersionAreAsked) {
  for (const Arguments& arguments :
       {Arguments{"--help"}, Arguments{"--version"}, Arguments{"run", "-h"},
        Arguments{"run", "--help"}}) {
    Arguments argv = arguments;
    argv.insert(argv.begin(), TreekillPath());
    Outcome outcome = Start(argv)->Wait();
    EXPECT_EQ(outcome.exit_code(), 0);
    EXPECT_THAT(outcome.output, Not(IsEmpty()));
    EXPECT_EQ(outcome.errors, "");
    auto close_output = [] { close(STDOUT_FILENO); };
    EXPECT_EQ(Start(argv, close_output)->Wait().exit_code(), 125);
  }
}

}  // namespace
}  // namespace treekill::rig
