#include "treekill/containment/kind.h"

namespace treekill {

bool IsWeaker(Containment a, Containment b) {
  constexpr int kStep = 10;
  return static_cast<int>(a) / kStep < static_cast<int>(b) / kStep;
}

const char* ContainmentName(Containment containment) {
  switch (containment) {
    case Containment::kAuto:
      return "auto";
    case Containment::kProcess:
      return "process";
    case Containment::kProcessGroup:
      return "process-group";
    case Containment::kSubreaper:
      return "subreaper";
    case Containment::kCgroup:
      return "cgroup";
    case Containment::kScope:
      return "scope";
  }
  return "unknown";
}

std::optional<Containment> ParseContainment(const std::string& name) {
  for (Containment containment :
       {Containment::kAuto, Containment::kProcess, Containment::kProcessGroup,
        Containment::kSubreaper, Containment::kCgroup, Containment::kScope}) {
    if (name == ContainmentName(containment)) return containment;
  }
  return std::nullopt;
}

}  // namespace treekill
