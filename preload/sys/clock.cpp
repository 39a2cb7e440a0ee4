#include <elf.h>
#include <sys/auxv.h>

#include <string_view>

#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::sys {
namespace {

int ask_kernel(clockid_t clock, timespec* time) {
  return static_cast<int>(call(SYS_clock_gettime, clock, time));
}

template <class T>
const T* at(std::uint64_t address) {
  return reinterpret_cast<const T*>(address);
}

// One more than the last index that the table knows.
std::uint32_t symbols_in(const std::uint32_t* gnu_hash) {
  const std::uint32_t bucket_count = gnu_hash[0];
  const std::uint32_t first = gnu_hash[1];
  const std::uint32_t* const buckets = gnu_hash + 4 + std::size_t{2} * gnu_hash[2];
  const std::uint32_t* const chains = buckets + bucket_count;
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < bucket_count; ++i) last = buckets[i] > last ? buckets[i] : last;
  if (last < first) return first;
  while (!(chains[last - first] & 1)) ++last;
  return last + 1;
}

// The kernel's own object: trusted, whole, one segment.
ReadClock find_in_vdso(std::uint64_t image) {
  const auto* elf = at<Elf64_Ehdr>(image);
  const auto* segments = at<Elf64_Phdr>(image + elf->e_phoff);
  std::uint64_t bias = 0;
  const Elf64_Dyn* dynamic = nullptr;
  for (unsigned i = 0; i < elf->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD) bias = image + segments[i].p_offset - segments[i].p_vaddr;
    if (segments[i].p_type == PT_DYNAMIC) dynamic = at<Elf64_Dyn>(image + segments[i].p_offset);
  }
  const char* names = nullptr;
  const Elf64_Sym* symbols = nullptr;
  std::uint32_t count = 0;
  for (; dynamic && dynamic->d_tag != DT_NULL; ++dynamic) {
    const std::uint64_t where = bias + dynamic->d_un.d_ptr;
    if (dynamic->d_tag == DT_STRTAB) names = at<char>(where);
    if (dynamic->d_tag == DT_SYMTAB) symbols = at<Elf64_Sym>(where);
    if (dynamic->d_tag == DT_HASH) count = at<std::uint32_t>(where)[1];
    if (dynamic->d_tag == DT_GNU_HASH && count == 0) count = symbols_in(at<std::uint32_t>(where));
  }
  for (std::uint32_t i = 0; names && symbols && i < count; ++i) {
    if (symbols[i].st_shndx == SHN_UNDEF ||
        std::string_view(names + symbols[i].st_name) != "__vdso_clock_gettime") {
      continue;
    }
    return reinterpret_cast<ReadClock>(bias + symbols[i].st_value);
  }
  return nullptr;
}

}  // namespace

constinit std::atomic<ReadClock> g_read_clock{ask_kernel};

bool find_clock() {
  const std::uint64_t image = getauxval(AT_SYSINFO_EHDR);
  const ReadClock found = image ? find_in_vdso(image) : nullptr;
  if (found) g_read_clock.store(found, std::memory_order_relaxed);
  return found != nullptr;
}

}  // namespace memtrace::sys
