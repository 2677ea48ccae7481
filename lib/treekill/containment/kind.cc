#include "treekill/containment/kind.h"

namespace treekill {

const char* ContainmentName(Containment containment) {
  switch (containment) {
    case Containment::kAuto:
      return "auto";
    case Containment::kProcess:
      return "process";
    case Containment::kProcessGroup:
      return "process-group";
    case Containment::kCgroup:
      return "cgroup";
  }
  return "unknown";
}

std::optional<Containment> ParseContainment(const std::string& name) {
  for (Containment containment :
       {Containment::kAuto, Containment::kProcess, Containment::kProcessGroup,
        Containment::kCgroup}) {
    if (name == ContainmentName(containment)) return containment;
  }
  return std::nullopt;
}

}  // namespace treekill
