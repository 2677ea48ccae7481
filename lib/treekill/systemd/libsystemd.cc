#include "treekill/systemd/libsystemd.h"

#include <dlfcn.h>

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"

namespace treekill::systemd {
namespace {

constexpr char kFile[] = "libsystemd.so.0";

// For packagers' tools: which library is loaded at run time, and that it can be
// done without. See ELF_DLOPEN_METADATA of systemd.
constexpr char kDlopenNote[] =
    "[{\"feature\":\"systemd\",\"description\":\"Transient scopes\","
    "\"priority\":\"recommended\",\"soname\":[\"libsystemd.so.0\"]}]";

struct ElfNote {
  unsigned name_size;
  unsigned value_size;
  unsigned type;
  char name[4];
  alignas(4) char value[sizeof(kDlopenNote)];
};

template <size_t... I>
constexpr ElfNote MakeNote(std::index_sequence<I...>) {
  return {4, sizeof(kDlopenNote), 0x407c0c0a, "FDO", {kDlopenNote[I]...}};
}

__attribute__((used, retain, aligned(4), section(".note.dlopen")))
const ElfNote kNote = MakeNote(std::make_index_sequence<sizeof(kDlopenNote)>());

}  // namespace

absl::StatusOr<const Libsystemd*> LoadLibsystemd() {
  static Libsystemd table;
  void* library = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot speak to systemd: ", dlerror(),
                     "; install libsystemd (Debian's package libsystemd0)"));
  }
#define TREEKILL_FUNCTION(name)                                               \
  table.name = reinterpret_cast<decltype(table.name)>(dlsym(library, #name)); \
  if (table.name == nullptr) {                                                \
    return absl::UnavailableError(                                            \
        absl::StrCat(kFile, " is too old: it has no ", #name));               \
  }
  TREEKILL_LIBSYSTEMD_FUNCTIONS(TREEKILL_FUNCTION)
#undef TREEKILL_FUNCTION
  table.is_255 = dlsym(library, "sd_id128_get_app_specific") != nullptr;
  return &table;
}

}  // namespace treekill::systemd
