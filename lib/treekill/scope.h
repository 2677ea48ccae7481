// The transient scope that systemd makes for a tree: systemd.scope(5).
#ifndef TREEKILL_SCOPE_H_
#define TREEKILL_SCOPE_H_

#include <string>
#include <vector>

#include "treekill/systemd/manager.h"

namespace treekill {

struct ScopeOptions {
  // Whom to ask for it.
  SystemdManager manager = SystemdManager::kAuto;
  // Its name, with or without ".scope"; "": one that says what runs there.
  std::string unit = {};
  // "": the manager's choice.
  std::string slice = {};
  // "": the command line.
  std::string description = {};
  // "NAME=VALUE", as systemd-run(1) takes them for a scope: the limits of
  // systemd.resource-control(5), KillMode=, TimeoutStopSec= and the like.
  std::vector<std::string> properties = {};
};

}  // namespace treekill

#endif  // TREEKILL_SCOPE_H_
