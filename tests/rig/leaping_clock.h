// A clock for a program under test that leaps ahead by an hour when a file is
// made: time limits are over then, however quick or slow the machine is.
#ifndef TREEKILL_TESTS_RIG_LEAPING_CLOCK_H_
#define TREEKILL_TESTS_RIG_LEAPING_CLOCK_H_

namespace treekill::rig {

// From now on this program's CLOCK_MONOTONIC leaps when there is `file`, whose
// folder must exist. The program that links to this has its clock_gettime(),
// timerfd_settime(), poll() and epoll_wait() from it. To be called once, while
// there is one thread.
void LeapWhenThereIs(const char* file);

}  // namespace treekill::rig

#endif  // TREEKILL_TESTS_RIG_LEAPING_CLOCK_H_
