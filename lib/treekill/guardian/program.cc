// treekill-guardian: the guardian as a program of its own, so that a large or
// multi-threaded host is never forked. See client.cc for who starts it.
#include <sys/socket.h>

#include <cstdio>

#include "treekill/guardian/guardian.h"
#include "treekill/guardian/protocol.h"

int main() {
  int type = 0;
  socklen_t size = sizeof(type);
  if (getsockopt(treekill::guardian::kChannelFd, SOL_SOCKET, SO_TYPE, &type,
                 &size) < 0 ||
      type != SOCK_SEQPACKET) {
    fputs(
        "treekill-guardian: it is started by the treekill library, and does "
        "nothing by itself\n",
        stderr);
    return 125;
  }
  treekill::guardian::GuardianEnds ends;
  ends.channel.reset(treekill::guardian::kChannelFd);
  ends.supervisor.reset(treekill::guardian::kSupervisorFd);
  treekill::guardian::RunGuardian(ends, treekill::guardian::GuardianManner());
}
