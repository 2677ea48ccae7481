// A process that nobody can look at: whoever reads its /proc/PID/cmdline waits.
//
//   stuck_member --with-files DIRECTORY COMMAND [ARG...]
//       becomes the command, where DIRECTORY is a file system (FUSE) with one
//       file, "file", of which nothing can be read
//   stuck_member FILE READY [NAME]
//       makes READY when it is stuck, and is called NAME. SIGKILL ends it.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

constexpr uint64_t kFile = 2;

int Fail(const char* what) {
  perror(what);
  return 77;
}

fuse_attr Attributes(uint64_t node) {
  fuse_attr attributes{};
  attributes.ino = node;
  attributes.size = 4096;
  attributes.mode = node == kFile ? S_IFREG | 0644 : S_IFDIR | 0755;
  attributes.nlink = 1;
  return attributes;
}

template <typename Body>
void Answer(int fd, const fuse_in_header& request, int error,
            const Body& body) {
  struct {
    fuse_out_header header;
    Body body;
  } answer{};
  answer.header.unique = request.unique;
  answer.header.error = error;
  answer.header.len = sizeof(answer.header) + (error == 0 ? sizeof(body) : 0);
  answer.body = body;
  if (write(fd, &answer, answer.header.len) < 0) perror("write");
}

// Until the file has been opened and closed.
void Serve(int fd) {
  alignas(fuse_in_header) static char buffer[1 << 18];
  while (read(fd, buffer, sizeof(buffer)) > 0) {
    const auto& request = *reinterpret_cast<fuse_in_header*>(buffer);
    if (request.opcode == FUSE_INIT) {
      fuse_init_out body{};
      body.major = FUSE_KERNEL_VERSION;
      body.minor = 31;
      body.max_write = 4096;
      Answer(fd, request, 0, body);
    } else if (request.opcode == FUSE_LOOKUP) {
      fuse_entry_out body{};
      body.nodeid = kFile;
      body.attr_valid = body.entry_valid = 1000;
      body.attr = Attributes(kFile);
      Answer(fd, request, 0, body);
    } else if (request.opcode == FUSE_GETATTR) {
      fuse_attr_out body{};
      body.attr_valid = 1000;
      body.attr = Attributes(request.nodeid);
      Answer(fd, request, 0, body);
    } else if (request.opcode == FUSE_OPEN) {
      Answer(fd, request, 0, fuse_open_out{});
    } else {
      Answer(fd, request, -ENOSYS, 0);
      if (request.opcode == FUSE_FLUSH) break;
    }
  }
  // An open connection that nobody reads from.
  while (true) pause();
}

int RunWithFiles(const char* directory, char** command) {
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return Fail("unshare");
  }
  int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  std::string options =
      "rootmode=40000,user_id=0,group_id=0,fd=" + std::to_string(fd);
  if (fd < 0 || mount("stuck", directory, "fuse", 0, options.c_str()) != 0) {
    return Fail("mount");
  }
  pid_t parent = getpid();
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) Serve(fd);
    return 0;
  }
  execvp(command[0], command);
  return Fail("exec");
}

bool IsIn(const std::string& file, const char* text) {
  std::string content(4096, '\0');
  int fd = open(file.c_str(), O_RDONLY);
  ssize_t size = read(fd, content.data(), content.size());
  close(fd);
  return size > 0 && content.find(text) < static_cast<size_t>(size);
}

// One thread reads memory that never comes, and has mmap_lock for it: through
// /proc/self/mem the lock is not let go meanwhile. Another wants to write to
// it, and from then on no other reader gets it.
int GetStuck(const char* file, const char* ready) {
  int fd = open(file, O_RDONLY);
  if (fd < 0) return Fail(file);
  void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  int memory = open("/proc/self/mem", O_RDONLY);
  // In another process, as this one stops working.
  std::string self = "/proc/" + std::to_string(getpid());
  if (fork() == 0) {
    while (!IsIn(self + "/wchan", "map")) usleep(1000);
    close(open(ready, O_WRONLY | O_CREAT, 0644));
    _exit(0);
  }
  std::thread reader([=] {
    char byte;
    pread(memory, &byte, 1, reinterpret_cast<off_t>(page));
  });
  while (true) {
    usleep(1000);
    munmap(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
           4096);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 3 && strcmp(argv[1], "--with-files") == 0) {
    return RunWithFiles(argv[2], argv + 3);
  }
  if (argc > 3) prctl(PR_SET_NAME, argv[3]);
  return argc > 2 ? GetStuck(argv[1], argv[2]) : 2;
}
