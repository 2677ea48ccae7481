// host --ready=FILE [--trees=N] [--death=WHAT] [--parent-signal=WHEN]
//      [--step=SIGNAL:GRACE]... [--own-guardian] [--then=WHAT] COMMAND...
//
// A user of the library: one Supervisor, N trees of COMMAND, served for ever;
// its guardian is treekill-guardian, or this program itself. Writes the
// leaders' pids to FILE. On SIGUSR1 it does WHAT:
//
//   stop          ends the trees by the steps
//   exec          becomes `sleep 600`, with the Supervisor as it is
//   pthread-exit  ends its main thread; another one goes on serving
//   fork          makes a child with a copy of the Supervisor, which it leaves
//                 as it is
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "treekill/treekill.h"

namespace {

using treekill::OnSupervisorDeath;
using treekill::ParentDeathSignal;

struct Host {
  treekill::Supervisor supervisor;
  std::vector<treekill::Tree> trees;
};

struct Arguments {
  std::string ready;
  std::string then;
  int trees = 1;
  treekill::SupervisorOptions supervisor;
  treekill::Command command;
  treekill::TreeOptions options;
};

[[noreturn]] void Fail(const std::string& why) {
  std::cerr << "host: " << why << "\n";
  exit(1);
}

OnSupervisorDeath ParseDeath(const std::string& text) {
  for (OnSupervisorDeath what :
       {OnSupervisorDeath::kLeave, OnSupervisorDeath::kKillLeader,
        OnSupervisorDeath::kKillTree}) {
    if (text == treekill::OnSupervisorDeathName(what)) return what;
  }
  Fail("unknown --death=" + text);
}

ParentDeathSignal ParseParentSignal(const std::string& text) {
  if (text == "never") return ParentDeathSignal::kNever;
  if (text == "always") return ParentDeathSignal::kAlways;
  if (text == "main") return ParentDeathSignal::kFromMainThread;
  Fail("unknown --parent-signal=" + text);
}

treekill::TeardownStep ParseStep(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  std::optional<int> signal = treekill::ParseSignal(parts[0]);
  absl::Duration grace;
  if (parts.size() != 2 || !signal.has_value() ||
      !absl::ParseDuration(parts[1], &grace)) {
    Fail("unknown --step=" + text);
  }
  return {*signal, grace};
}

Arguments Parse(const std::vector<std::string>& words) {
  Arguments arguments;
  arguments.options.teardown.steps.clear();
  size_t next = 0;
  for (; next < words.size() && words[next].substr(0, 2) == "--"; ++next) {
    std::pair<std::string, std::string> option =
        absl::StrSplit(words[next], absl::MaxSplits('=', 1));
    const auto& [name, value] = option;
    if (name == "--ready") {
      arguments.ready = value;
    } else if (name == "--then") {
      arguments.then = value;
    } else if (name == "--trees") {
      if (!absl::SimpleAtoi(value, &arguments.trees)) Fail("--trees=" + value);
    } else if (name == "--death") {
      arguments.options.on_supervisor_death = ParseDeath(value);
    } else if (name == "--parent-signal") {
      arguments.options.parent_death_signal = ParseParentSignal(value);
    } else if (name == "--own-guardian") {
      arguments.supervisor.guardian_program = "/proc/self/exe";
    } else if (name == "--step") {
      arguments.options.teardown.steps.push_back(ParseStep(value));
    } else {
      Fail("unknown argument " + words[next]);
    }
  }
  arguments.command.argv.assign(words.begin() + next, words.end());
  return arguments;
}

void WriteReady(const Host& host, const std::string& file) {
  std::string temporary = file + ".tmp";
  std::ofstream out(temporary);
  for (const treekill::Tree& tree : host.trees) out << tree.leader() << "\n";
  out.close();
  if (!out || rename(temporary.c_str(), file.c_str()) < 0) {
    Fail("cannot write " + file);
  }
}

[[noreturn]] void Serve(Host& host, int signals, const std::string& then);

void React(Host& host, int signals, const std::string& then) {
  if (then == "stop") {
    for (treekill::Tree& tree : host.trees) tree.Stop();
  } else if (then == "exec") {
    execlp("sleep", "sleep", "600", nullptr);
    Fail("cannot exec sleep");
  } else if (then == "pthread-exit") {
    std::thread([&host, signals, then] {
      Serve(host, signals, then);
    }).detach();
    pthread_exit(nullptr);
  } else if (then == "fork") {
    if (fork() == 0) {
      for (;;) pause();
    }
  }
}

[[noreturn]] void Serve(Host& host, int signals, const std::string& then) {
  while (true) {
    pollfd fds[] = {{host.supervisor.fd(), POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(fds, std::size(fds), -1) < 0) continue;
    if (fds[0].revents != 0 && !host.supervisor.Dispatch().ok()) {
      Fail("cannot serve");
    }
    if (fds[1].revents == 0) continue;
    signalfd_siginfo info;
    if (read(signals, &info, sizeof(info)) != sizeof(info)) continue;
    React(host, signals, then);
  }
}

}  // namespace

int main(int argc, char** argv) {
  treekill::RunIfGuardian(argc, argv);
  // It is to crash in some tests, and leave nothing.
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  Arguments arguments = Parse({argv + 1, argv + argc});
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  int signals = signalfd(-1, &usr1, SFD_CLOEXEC);
  absl::StatusOr<treekill::Supervisor> supervisor =
      treekill::Supervisor::Create(arguments.supervisor);
  if (!supervisor.ok()) Fail(supervisor.status().ToString());
  // For ever: the stack goes with the main thread.
  Host& host = *new Host{*std::move(supervisor), {}};
  for (int i = 0; i < arguments.trees; ++i) {
    absl::StatusOr<treekill::Tree> tree =
        host.supervisor.Spawn(arguments.command, arguments.options);
    if (!tree.ok()) Fail(tree.status().ToString());
    host.trees.push_back(*std::move(tree));
  }
  WriteReady(host, arguments.ready);
  Serve(host, signals, arguments.then);
}
