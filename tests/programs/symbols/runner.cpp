// Runs the probes, linked in or from a shared object named on the command line, and prints for each
//   marker <tab> file offset of the call, as hexadecimal <tab> path of the ELF file
// which is what a snapshot keeps of a frame.
#include <dlfcn.h>
#include <link.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include "chain.hpp"

#ifdef VICTIM_LINKED_IN
extern "C" void run_victim(int);
#endif

namespace {

struct Query {
  std::uintptr_t address;
  const char* marker;
};

int print_when_inside(dl_phdr_info* info, std::size_t, void* opaque) {
  const auto& query = *static_cast<Query*>(opaque);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const std::uintptr_t start = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type != PT_LOAD || query.address < start || query.address - start >= segment.p_memsz)
      continue;
    std::printf("%s\t%" PRIxPTR "\t%s\n", query.marker, query.address - start + segment.p_offset,
                info->dlpi_name);
    return 1;
  }
  return 0;
}

}  // namespace

extern "C" [[gnu::noinline]] void probe(const char* marker) {
  Query query{reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1, marker};
  dl_iterate_phdr(print_when_inside, &query);
}

int main(int argc, char** argv) {
#ifdef VICTIM_LINKED_IN
  (void)argv;
  run_victim(argc);
  return 0;
#else
  void* library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  if (library == nullptr) return 1;
  reinterpret_cast<void (*)(int)>(dlsym(library, "run_victim"))(argc);
  return 0;
#endif
}
