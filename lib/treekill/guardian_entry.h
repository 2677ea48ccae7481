// For a program that is to be its own guardian and reaper, instead of
// treekill-guardian:
// one file to install, and SupervisorOptions::park_guardian becomes possible.
//
//   int main(int argc, char** argv) {
//     treekill::RunIfGuardian(argc, argv);
//     ...
//     auto supervisor = treekill::Supervisor::Create(
//         {.guardian_program = "/proc/self/exe"});
#ifndef TREEKILL_GUARDIAN_ENTRY_H_
#define TREEKILL_GUARDIAN_ENTRY_H_

namespace treekill {

// Returns at once, having done nothing, unless a Supervisor has started this
// process as its guardian or a reaper: then it is that, and exits. To be called
// before anything that takes time, memory or descriptors.
void RunIfGuardian(int argc, char** argv);

}  // namespace treekill

#endif  // TREEKILL_GUARDIAN_ENTRY_H_
