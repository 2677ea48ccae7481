// The calls into the kernel that can fail in an interesting way, each under
// its own name, with three things that every caller here wants:
//
//  * a fault hook, so that a test can make any of them fail (the one seam);
//  * EINTR is retried, but by Poll() and EpollWait() where the caller decides;
//  * a descriptor handed out is never 0, 1 or 2, even when the caller runs
//    with closed standard streams, and is always close-on-exec.
//
// They return what the system call returns, and -1 with errno on failure.
// Async-signal-safe and thread-safe as the calls themselves.
#ifndef TREEKILL_KERNEL_SYSCALLS_H_
#define TREEKILL_KERNEL_SYSCALLS_H_

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <cstdint>

struct epoll_event;
struct pollfd;
struct itimerspec;
struct rusage;
struct msghdr;

namespace treekill::kernel {

// Asked before each call with the call's name and, where there is one, the
// path or file name. Returns the errno to fail with, or 0 to let it through.
using FaultHook = int (*)(const char* call, const char* path);

// Installs `hook` for the whole process; nullptr removes it. Tests only: it
// must not be changed while another thread is inside the library.
void SetFaultHookForTesting(FaultHook hook);

// Sets errno and returns true when the hook wants `call` to fail.
bool FaultInjected(const char* call, const char* path = nullptr);

// Moves a descriptor below 3 up and out of the way; passes -1 and errno on.
int AboveStandardStreams(int fd);

int Openat(int directory, const char* path, int flags);
ssize_t Read(int fd, void* buffer, size_t size, const char* path = nullptr);
ssize_t Pread(int fd, void* buffer, size_t size, off_t offset,
              const char* path = nullptr);
ssize_t Write(int fd, const void* buffer, size_t size,
              const char* path = nullptr);
int Mkdirat(int directory, const char* path, mode_t mode);
int Rmdirat(int directory, const char* path);
int Pipe(int fds[2]);
// Unix-domain, of whole messages; sending neither waits nor raises SIGPIPE.
int SocketPair(int fds[2]);
ssize_t SendMessage(int fd, const msghdr& message);
ssize_t ReceiveMessage(int fd, msghdr* message, int flags);
int SetAttribute(int fd, const char* name, const char* value, size_t size);

int PidfdOpen(pid_t pid);
int PidfdSendSignal(int pidfd, int signal);
// To the process group that the process leads, or has led (Linux 6.9).
int PidfdSendSignalToGroup(int pidfd, int signal);
int Kill(pid_t pid, int signal);
int Waitid(int id_type, id_t id, siginfo_t* info, int options,
           rusage* usage = nullptr);

int Poll(pollfd* fds, unsigned count, int timeout_ms);
int EpollCreate();
int EpollCtl(int epoll, int operation, int fd, uint32_t events, uint64_t data);
int EpollWait(int epoll, epoll_event* events, int count, int timeout_ms);
int TimerfdCreate();
int TimerfdSettime(int fd, const itimerspec& when);

}  // namespace treekill::kernel

#endif  // TREEKILL_KERNEL_SYSCALLS_H_
