// What a Supervisor writes to systemd's journal (TreeOptions::journal): one
// entry when a tree has started, one when it has ended, and one when processes
// outlive the leader, which is sent before the end. A tree whose supervisor is
// killed has no entry of its end.
//
// The fields, beside those of systemd.journal-fields(7) that the journal adds
// itself. They are a contract as those of the report are, and their words are
// the report's (README.md).
//
//   in all
//     MESSAGE                   the event in one line, for people
//     MESSAGE_ID                one of those below
//     PRIORITY                  6 (info), or 4 (warning): a leak; an end after
//                               which something is, or may be, alive or at
//                               which something went wrong
//     SYSLOG_IDENTIFIER         treekill
//     TREEKILL_COMMAND          the arguments, joined by blanks, byte for byte
//     TREEKILL_LEADER_PID
//     TREEKILL_CONTAINMENT      scope, cgroup, ...
//     TREEKILL_NAME             TreeOptions::name, if it has one
//     TREEKILL_CGROUP           the leaf's directory, if it has one
//     TREEKILL_UNIT             the scope's name, if it is in one
//     OBJECT_SYSTEMD_UNIT       the same for one of the system's manager
//     USER_UNIT                 the same for one of a user's manager
//   at a leak and at the end
//     TREEKILL_LEAKED_COUNT     how many outlived the leader
//   at a leak
//     TREEKILL_LEAKED           who, as the report's `leaked`: in JSON
//   at the end
//     TREEKILL_REASON           exit, timeout, stop, ...
//     TREEKILL_RESULT           how that went, in the words of $SERVICE_RESULT
//                               in systemd.exec(5) as far as it has one:
//                               "success", "exit-code", "signal", "core-dump",
//                               "timeout"; "survivors" when something is alive,
//                               "unknown" when that, or the status, is not
//                               known
//     TREEKILL_EXIT_CODE        the leader's, if it exited
//     TREEKILL_SIGNAL           that ended it, if one did: KILL, TERM, ...
//     TREEKILL_FIRST_SIGNAL     of the teardown, if one was sent
//     TREEKILL_KILLED           yes or no: was SIGKILL needed?
//     TREEKILL_STRAYS_KILLED    how many had moved out of the leaf
//     TREEKILL_SURVIVORS        as the report's `survivors`, if there are any
//     TREEKILL_ERRORS           what went wrong after the start, one a line, if
//                               something did
//     TREEKILL_RUN_USEC         how long it ran, and how long its end took, in
//     TREEKILL_TEARDOWN_USEC    microseconds
//
// `journalctl -u SCOPE` shows the entries of a root's supervisor for a scope of
// the system's manager, and `journalctl --user -u SCOPE` those of a user's for
// the user's own. journalctl believes nobody else: what a user writes about a
// scope of the system's manager is found by TREEKILL_UNIT=SCOPE.
#ifndef TREEKILL_JOURNAL_H_
#define TREEKILL_JOURNAL_H_

namespace treekill {

inline constexpr char kJournalStartedId[] = "fe0ca5484da04abeb421ea24836303b6";
inline constexpr char kJournalLeakedId[] = "97aede3eea434005bf715a0f498d1571";
inline constexpr char kJournalEndedId[] = "dba248b22bff43d1919a5feb9f29f2a9";

}  // namespace treekill

#endif  // TREEKILL_JOURNAL_H_
