// The reaper: the process that stands between a supervisor and a leader where
// no cgroup can be had. It starts the leader, is the subreaper of all that this
// starts, and kills and reaps until wait(2) says that nobody is left.
//
// It is two processes, each a subreaper: the outer one, the supervisor's child,
// only waits for the inner one, which is the leader's parent. If the inner one
// is killed the orphans come to the outer one, which ends them; if the outer
// one or the supervisor is, the inner one goes on. The leader itself is killed
// with the inner one (PR_SET_PDEATHSIG). Neither is replaced: who kills both
// frees what the leader has started, unless the supervisor adopts it.
//
// The inner one is in the supervisor's session, or the leader would be in
// another one and lose its terminal; both have every signal blocked and a
// process group that is not the supervisor's, and hold no descriptor of the
// command's.
#ifndef TREEKILL_GUARDIAN_REAPER_H_
#define TREEKILL_GUARDIAN_REAPER_H_

namespace treekill::guardian {

// Is this the command line of a process that a supervisor has started as a
// reaper?
bool IsReaperCommandLine(int argc, const char* const* argv);

// Lives a reaper's life in this process, and returns its exit status. Writes to
// `argv`, to be seen in /proc/PID/cmdline.
int ReaperMain(int argc, char** argv);

}  // namespace treekill::guardian

#endif  // TREEKILL_GUARDIAN_REAPER_H_
