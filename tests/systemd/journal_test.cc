// What journalctl shows of a run.
#include "treekill/journal.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/systemd/scope_fixture.h"
#include "treekill/kernel/error.h"
#include "treekill/systemd/journal.h"

namespace treekill::rig {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Entry = nlohmann::json;

// A value that is no text comes as the numbers of its bytes.
std::string Field(const Entry& entry, const std::string& name) {
  auto found = entry.find(name);
  if (found == entry.end()) return "(none)";
  if (found->is_string()) return found->get<std::string>();
  std::string bytes;
  for (int byte : *found) bytes += static_cast<char>(byte);
  return bytes;
}

class JournalTest : public ScopeTest {
 protected:
  void SetUp() override {
    ScopeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // Behind all that an earlier test has sent.
    ASSERT_TRUE(systemd::SendToJournal({{"MESSAGE", "begin"}}).ok());
    Run({"journalctl", "--sync"});
    const std::string before = "-- cursor: ";
    std::string said = Run({"journalctl", "--lines=0", "--show-cursor"}).output;
    size_t at = said.find(before);
    ASSERT_NE(at, std::string::npos) << said;
    cursor_ = said.substr(at + before.size());
    cursor_.resize(cursor_.find('\n'));
  }

  // As root, who may read everything.
  std::vector<Entry> Entries(Arguments matches) const {
    return Parsed(Run(Journalctl(std::move(matches))));
  }

  // When there are that many; the journal takes its time.
  std::vector<Entry> AwaitEntries(size_t count,
                                  const Arguments& matches) const {
    std::vector<Entry> entries;
    EXPECT_TRUE(Eventually([&] {
      entries = Entries(matches);
      return entries.size() >= count;
    }));
    EXPECT_EQ(entries.size(), count);
    entries.resize(count);
    return entries;
  }

  Entry AwaitEntry(const Arguments& matches) const {
    return AwaitEntries(1, matches)[0];
  }

  // Of this test's entries. With --after-cursor, journalctl 252 leaves out the
  // first one that matches.
  Arguments Journalctl(Arguments matches) const {
    matches.insert(matches.begin(), {"journalctl", "--quiet", "--all",
                                     "--output=json", "--cursor=" + cursor_});
    return matches;
  }

  static std::vector<Entry> Parsed(const Outcome& journalctl) {
    std::vector<Entry> entries;
    for (absl::string_view line :
         absl::StrSplit(journalctl.output, '\n', absl::SkipEmpty())) {
      entries.push_back(Entry::parse(std::string(line)));
    }
    return entries;
  }

  static std::string IdIs(const char* id) {
    return absl::StrCat("MESSAGE_ID=", id);
  }

  // In a delegated scope, where treekill makes none.
  Arguments Delegated(Arguments options) const {
    Arguments argv = {"systemd-run", "--scope", "-q", "-p", "Delegate=yes"};
    Arguments run = Treekill(std::move(options));
    argv.insert(argv.end(), run.begin(), run.end());
    return argv;
  }

 private:
  std::string cursor_;
};

class JournalForBoth : public JournalTest,
                       public testing::WithParamInterface<Who> {
 protected:
  bool is_user() const { return GetParam() == Who::kUser; }
};

INSTANTIATE_TEST_SUITE_P(Journal, JournalForBoth,
                         testing::Values(Who::kRoot, Who::kUser),
                         [](const auto& info) {
                           return info.param == Who::kRoot ? "Root" : "User";
                         });

TEST_P(JournalForBoth, TheThreeEventsAreFoundByTheirIds) {
  const std::string script =
      absl::StrCat("setsid sleep 1000 & ", kUntilItSleeps,
                   // So long it takes at least.
                   "; sleep 0.3; exit 3");
  Outcome outcome =
      RunAs(GetParam(),
            Treekill({"--name=nightly", "--unit=mine", "sh", "-c", script}));
  EXPECT_EQ(outcome.exit_code(), 3) << outcome.errors;
  EXPECT_THAT(outcome.errors, IsEmpty());

  Entry started = AwaitEntry({IdIs(kJournalStartedId)});
  Entry leaked = AwaitEntry({IdIs(kJournalLeakedId)});
  Entry ended = AwaitEntry({IdIs(kJournalEndedId)});
  const std::string uid = is_user() ? "4321" : "0";
  const std::string leader = Field(started, "TREEKILL_LEADER_PID");
  for (const Entry& entry : {started, leaked, ended}) {
    EXPECT_EQ(Field(entry, "_UID"), uid);
    EXPECT_EQ(Field(entry, "SYSLOG_IDENTIFIER"), "treekill");
    EXPECT_EQ(Field(entry, "TREEKILL_NAME"), "nightly");
    EXPECT_EQ(Field(entry, "TREEKILL_UNIT"), "mine.scope");
    EXPECT_EQ(Field(entry, "TREEKILL_CONTAINMENT"), "scope");
    EXPECT_EQ(Field(entry, "TREEKILL_LEADER_PID"), leader);
    EXPECT_EQ(Field(entry, "TREEKILL_COMMAND"), "sh -c " + script);
    EXPECT_THAT(Field(entry, "TREEKILL_CGROUP"),
                HasSubstr("/mine.scope/treekill-nightly-"));
  }
  EXPECT_EQ(Field(started, "MESSAGE"), "nightly: started sh as pid " + leader);
  EXPECT_EQ(Field(started, "PRIORITY"), "6");
  EXPECT_EQ(Field(leaked, "PRIORITY"), "4");
  EXPECT_EQ(Field(leaked, "TREEKILL_LEAKED_COUNT"), "1");
  Entry who = Entry::parse(Field(leaked, "TREEKILL_LEAKED"));
  ASSERT_EQ(who.size(), 1u);
  EXPECT_EQ(who[0].at("name"), "sleep");
  EXPECT_EQ(Field(leaked, "MESSAGE"),
            absl::StrCat("nightly: 1 outlived sh, pid ", leader, ": ",
                         who[0].at("pid").get<int>(), " (sleep)"));
  EXPECT_EQ(Field(ended, "PRIORITY"), "6");
  EXPECT_EQ(Field(ended, "TREEKILL_REASON"), "exit");
  EXPECT_EQ(Field(ended, "TREEKILL_RESULT"), "exit-code");
  EXPECT_EQ(Field(ended, "TREEKILL_EXIT_CODE"), "3");
  EXPECT_EQ(Field(ended, "TREEKILL_SIGNAL"), "(none)");
  EXPECT_EQ(Field(ended, "TREEKILL_FIRST_SIGNAL"), "TERM");
  EXPECT_EQ(Field(ended, "TREEKILL_KILLED"), "no");
  EXPECT_EQ(Field(ended, "TREEKILL_LEAKED_COUNT"), "1");
  EXPECT_GE(std::stol(Field(ended, "TREEKILL_RUN_USEC")), 300000);
  EXPECT_THAT(Field(ended, "MESSAGE"),
              AllOf(HasSubstr("ended by exit, exit code 3, after "),
                    HasSubstr("; nothing is left")));
}

TEST_P(JournalForBoth, HowItEndedIsSaid) {
  struct Case {
    Arguments options;
    std::string reason;
    std::string result;
    std::string signal;
  };
  for (const Case& end :
       std::vector<Case>{{{"--unit=fine", "true"}, "exit", "success", "(none)"},
                         {{"--unit=shot", "sh", "-c", "kill -USR1 $$"},
                          "exit",
                          "signal",
                          "USR1"},
                         {{"--unit=late", "--timeout=0.2", "sleep", "1000"},
                          "timeout",
                          "timeout",
                          "TERM"}}) {
    RunAs(GetParam(), Treekill(end.options));
    std::string unit = end.options[0].substr(strlen("--unit="));
    Entry ended = AwaitEntry({IdIs(kJournalEndedId),
                              absl::StrCat("TREEKILL_UNIT=", unit, ".scope")});
    EXPECT_EQ(Field(ended, "TREEKILL_REASON"), end.reason);
    EXPECT_EQ(Field(ended, "TREEKILL_RESULT"), end.result);
    EXPECT_EQ(Field(ended, "TREEKILL_SIGNAL"), end.signal);
  }
}

TEST_P(JournalForBoth, BytesAndLengthAreNoLimit) {
  const std::string odd = "two\nlines \xff\xfe \x1b[31m";
  // A datagram takes the first, and not the second.
  for (int words : {1, 3}) {
    std::string unit = absl::StrCat("words", words);
    Arguments command = {"true", odd};
    command.insert(command.end(), words, std::string(100 * 1024, 'x'));
    Arguments argv = Treekill({"--unit=" + unit});
    argv.insert(argv.end(), command.begin(), command.end());
    Outcome outcome = RunAs(GetParam(), argv);
    EXPECT_EQ(outcome.exit_code(), 0) << outcome.errors;
    EXPECT_THAT(outcome.errors, IsEmpty());
    std::string unit_is = absl::StrCat("TREEKILL_UNIT=", unit, ".scope");
    for (const char* id : {kJournalStartedId, kJournalEndedId}) {
      Entry entry = AwaitEntry({IdIs(id), unit_is});
      EXPECT_EQ(Field(entry, "TREEKILL_COMMAND"), absl::StrJoin(command, " "));
    }
  }
}

TEST_P(JournalForBoth, NoIsNo) {
  RunAs(GetParam(), Treekill({"--journal=no", "--unit=silent", "true"}));
  RunAs(GetParam(), Treekill({"--unit=loud", "true"}));
  AwaitEntry({IdIs(kJournalEndedId), "TREEKILL_UNIT=loud.scope"});
  EXPECT_THAT(Entries({"TREEKILL_UNIT=silent.scope"}), IsEmpty());
}

TEST_P(JournalForBoth, InADelegatedUnitOnlyIfAskedFor) {
  Arguments silent = Delegated({"--name=silent", "true"});
  Arguments loud = Delegated({"--journal", "--name=loud", "true"});
  for (Arguments* argv : {&silent, &loud}) {
    if (is_user()) argv->insert(argv->begin() + 1, "--user");
    EXPECT_EQ(RunAs(GetParam(), *argv).exit_code(), 0);
  }
  Entry started = AwaitEntry({IdIs(kJournalStartedId)});
  Entry ended = AwaitEntry({IdIs(kJournalEndedId)});
  for (const Entry& entry : {started, ended}) {
    EXPECT_EQ(Field(entry, "TREEKILL_NAME"), "loud");
    EXPECT_EQ(Field(entry, "TREEKILL_CONTAINMENT"), "cgroup");
    EXPECT_EQ(Field(entry, "TREEKILL_UNIT"), "(none)");
    EXPECT_THAT(Field(entry, "TREEKILL_CGROUP"), HasSubstr("/treekill-loud-"));
  }
}

using ByUnit = JournalTest;
// It is another journal afterwards.
using PersistentJournal = JournalTest;

TEST_F(ByUnit, RootsScope) {
  Run(Treekill({"--unit=mine", "true"}));
  // Of the unit are systemd's own entries, too.
  for (const char* id : {kJournalStartedId, kJournalEndedId}) {
    AwaitEntry({"--unit=mine.scope", IdIs(id)});
  }
  EXPECT_THAT(Entries({"--unit=other.scope", IdIs(kJournalEndedId)}),
              IsEmpty());
}

// The user sees it without any right, which takes a journal of the user's own:
// there is one on disk only.
TEST_F(PersistentJournal, HasAUsersScopeByUnit) {
  const char* script =
      "mount -t tmpfs -o mode=755 tmpfs /var/log && mkdir /var/log/journal && "
      "sed -i s/volatile/persistent/ /etc/systemd/journald.conf.d/test.conf && "
      "systemctl restart systemd-journald && journalctl --flush";
  ASSERT_EQ(Run({"sh", "-c", script}).exit_code(), 0);
  RunInSession(kTester, Treekill({"--unit=mine", "true"}));
  for (const char* id : {kJournalStartedId, kJournalEndedId}) {
    EXPECT_TRUE(Eventually([&] {
      Outcome seen = RunInSession(
          kTester, Journalctl({"--user", "--unit=mine.scope", IdIs(id)}));
      return Parsed(seen).size() == 1;
    }));
  }
}

using NoJournal = JournalTest;

Arguments WithoutJournal(Arguments argv) {
  argv.insert(
      argv.begin(),
      {"unshare", "--mount", "sh", "-c",
       "mount -t tmpfs tmpfs /run/systemd/journal && exec \"$@\"", "sh"});
  return argv;
}

TEST_F(NoJournal, OneThatWasAskedForIsAnErrorBeforeAnythingRuns) {
  Outcome outcome =
      Run(WithoutJournal(Treekill({"--journal", "echo", "has run"})));
  EXPECT_EQ(outcome.exit_code(), 125);
  EXPECT_THAT(outcome.output, IsEmpty());
  EXPECT_THAT(outcome.errors,
              AllOf(HasSubstr("treekill: there is no journal: "),
                    HasSubstr("/run/systemd/journal/socket")));
  EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1);
}

TEST_F(NoJournal, OtherwiseItIsNotMissed) {
  Outcome outcome = Run(
      WithoutJournal(Treekill({"--require=scope", "--report=fd:1", "true"})));
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(outcome.errors, IsEmpty());
  EXPECT_THAT(outcome.output, HasSubstr("\"journal_error\":null"));
}

TEST_F(NoJournal, OneThatDoesNotReadChangesNothingElse) {
  Run({"systemctl", "kill", "-s", "STOP", "systemd-journald"});
  absl::Status sent;
  while (sent.ok()) sent = systemd::SendToJournal({{"MESSAGE", "filler"}});
  EXPECT_EQ(kernel::StatusErrno(sent), EAGAIN) << sent;
  // systemd would wait for the journal, too.
  Outcome outcome = Run(Treekill({"--journal", "--containment=cgroup",
                                  "--report=fd:1", "sh", "-c", "exit 3"}));
  Run({"systemctl", "kill", "-s", "CONT", "systemd-journald"});
  EXPECT_EQ(outcome.exit_code(), 3);
  EXPECT_THAT(outcome.errors,
              HasSubstr("treekill: an entry is missing in the journal: cannot "
                        "write to /run/systemd/journal/socket"));
  EXPECT_THAT(outcome.output, HasSubstr("\"journal_error\":\"cannot write"));
}

}  // namespace
}  // namespace treekill::rig
