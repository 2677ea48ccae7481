// treekill-guardian: the guardian as a program of its own, so that a large or
// multi-threaded host is never copied. See client.cc for who starts it.
#include "treekill/guardian/guardian.h"

int main() { return treekill::guardian::GuardianMain(); }
