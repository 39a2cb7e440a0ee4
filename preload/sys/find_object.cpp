#include "preload/sys/find_object.hpp"

#include <dlfcn.h>

#include <atomic>

#include "preload/sys/old_symbols.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::sys {
namespace {

#ifdef DLFO_STRUCT_HAS_EH_DBASE
using FindObject = int (*)(void* address, dl_find_object* found);
constinit std::atomic<FindObject> g_find_object{nullptr};
#endif

}  // namespace

void start_find_object() {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
  if (can_find_objects()) return;
  FindObject function = nullptr;
  void* symbol = dlsym(RTLD_DEFAULT, "_dl_find_object");
  __builtin_memcpy(&function, &symbol, sizeof function);
  g_find_object.store(function, std::memory_order_relaxed);
#endif
}

bool can_find_objects() {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
  return g_find_object.load(std::memory_order_relaxed) != nullptr;
#else
  return false;
#endif
}

bool find_object(std::uintptr_t address, LoadedObject& object) {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
  const FindObject find = g_find_object.load(std::memory_order_relaxed);
  dl_find_object found;
  if (!find || find(reinterpret_cast<void*>(address), &found) != 0) return false;
  object.begin = reinterpret_cast<std::uintptr_t>(found.dlfo_map_start);
  object.end = reinterpret_cast<std::uintptr_t>(found.dlfo_map_end);
  object.map = found.dlfo_link_map;
  object.unwind_header = reinterpret_cast<std::uintptr_t>(found.dlfo_eh_frame);
  return true;
#else
  (void)address;
  (void)object;
  return false;
#endif
}

}  // namespace memtrace::sys
