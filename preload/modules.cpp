#include "preload/modules.hpp"

#include "preload/counters.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

struct Modules::MapsLine {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  bool executable = false;
  std::string_view path;
};

namespace {

std::uint64_t parse_hex(const char*& at, const char* end) {
  std::uint64_t number = 0;
  for (; at < end; ++at) {
    const char c = *at;
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    number = number << 4 | static_cast<std::uint64_t>(digit);
  }
  return number;
}

// "start-end perms offset dev inode   path"
template <class Line>
bool parse_line(const char* at, const char* end, Line& line) {
  line.start = parse_hex(at, end);
  if (at == end || *at++ != '-') return false;
  line.end = parse_hex(at, end);
  if (end - at < 6) return false;
  line.executable = at[3] == 'x';
  at += 6;
  line.offset = parse_hex(at, end);
  for (int field = 0; field < 2; ++field) {  // dev, inode
    while (at < end && *at == ' ') ++at;
    while (at < end && *at != ' ') ++at;
  }
  while (at < end && *at == ' ') ++at;
  line.path = {at, static_cast<std::size_t>(end - at)};
  return true;
}

}  // namespace

// The new list first: a child forked in between goes on with it.
template <class T, class Count>
bool Modules::grow(T*& list, Count& capacity, Count used, Count larger) {
  auto* fresh = static_cast<T*>(arena_->take(larger * sizeof(T)));
  if (!fresh) return false;
  if (list) __builtin_memcpy(static_cast<void*>(fresh), list, used * sizeof(T));
  T* const old = list;
  const Count old_capacity = capacity;
  list = fresh;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  capacity = larger;
  if (old) arena_->give_back(old, old_capacity * sizeof(T));
  return true;
}

bool Modules::reserve_module() {
  if (count_ < capacity_) return true;
  const std::uint32_t larger = capacity_ ? capacity_ * 2 : 64;
  return larger <= kMaxModules && grow(modules_, capacity_, count_, larger);
}

bool Modules::reserve_text(std::size_t bytes) {
  if (text_used_ + bytes <= text_capacity_) return true;
  std::size_t larger = text_capacity_ ? text_capacity_ * 2 : kPageBytes;
  while (larger < text_used_ + bytes) larger *= 2;
  return larger <= kMaxTextBytes && grow(text_, text_capacity_, std::size_t{text_used_}, larger);
}

LoadedModule* Modules::append(const MapsLine& line) {
  if (!reserve_module() || !reserve_text(line.path.size())) {
    count(g_counters.lost_modules);
    return nullptr;
  }
  for (std::uint32_t i = 0; i < count_; ++i) {
    places_reused_ = places_reused_ || (modules_[i].start < line.end && line.start < modules_[i].end);
  }
  LoadedModule& module = modules_[count_++];
  module = LoadedModule{};
  module.start = line.start;
  module.end = line.end;
  module.file_offset = line.offset;
  module.path_at = text_used_;
  module.path_size = static_cast<std::uint32_t>(line.path.size());
  __builtin_memcpy(text_ + text_used_, line.path.data(), line.path.size());
  text_used_ += module.path_size;
  return &module;
}

void Modules::add_loaded(const MapsLine& line, std::uint64_t header, const ModuleNotes& notes,
                         std::uint32_t stacks) {
  bool in_place_of_another = false;
  for (std::uint32_t i = 0; i < count_; ++i) {
    LoadedModule& known = modules_[i];
    if (known.start >= line.end || line.start >= known.end) continue;
    const bool same = known.start == line.start && known.end == line.end &&
                      known.file_offset == line.offset && path(known) == line.path;
    // The same path may be another file by now: loaded again at the same place, it is the same only by its
    // build-id.
    if (same && (known.loaded || !header || read_build_id({header}) == known.build_id)) {
      known.loaded = true;
      return;
    }
    in_place_of_another = true;
  }
  LoadedModule* module = append(line);
  if (!module) return;
  module->loaded = true;
  if (header) module->build_id = read_build_id({header});
  if (!in_place_of_another) return;
  module->first_stack = stacks + 1;
  for (std::uint32_t i = 0; i < notes.size(); ++i) {
    const ModuleNote* note = notes[i];
    if (note && note->map_start == header && note->build_id == module->build_id) {
      module->first_stack = note->first_stack;
    }
  }
}

// A noted object that is in no list: unloaded before a snapshot saw it, or /proc is not there to list it. The
// loader has no name for the executable.
void Modules::add_gone(const ModuleNote& note, std::string_view executable_path) {
  const std::string_view path = note.path[0] != '\0' ? std::string_view(note.path) : executable_path;
  if (note.code_start == note.code_end || path.empty()) return;
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (modules_[i].start == note.code_start && modules_[i].build_id == note.build_id) return;
  }
  MapsLine line;
  line.start = note.code_start;
  line.end = note.code_end;
  line.offset = note.code_offset;
  line.path = path;
  LoadedModule* module = append(line);
  if (!module) return;
  module->build_id = note.build_id;
  module->first_stack = note.first_stack;
}

std::uint32_t Modules::loaded_among(std::uint32_t first_modules) const {
  std::uint32_t loaded = 0;
  for (std::uint32_t i = 0; i < first_modules; ++i) loaded += modules_[i].loaded;
  return loaded;
}

bool Modules::refresh(std::string_view executable_path, const ModuleNotes& notes, std::uint32_t stacks,
                      char* scratch) {
  const std::uint32_t known = count_;
  const std::uint32_t loaded_before = loaded_among(known);
  read_maps(notes, stacks, scratch);
  const bool any_gone = loaded_among(known) < loaded_before;
  for (std::uint32_t i = 0; i < notes.size(); ++i) {
    if (const ModuleNote* note = notes[i]) add_gone(*note, executable_path);
  }
  for (std::uint32_t i = count_; i-- > 0;) {
    if (path(modules_[i]) == executable_path) executable_ = i;
  }
  return any_gone;
}

void Modules::read_maps(const ModuleNotes& notes, std::uint32_t stacks, char* scratch) {
  const long fd = sys::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    count(g_counters.lost_modules);
    return;
  }
  for (std::uint32_t i = 0; i < count_; ++i) modules_[i].loaded = false;

  // The header of an object is its first segment, file offset 0; its other segments follow in address order.
  std::uint64_t header = 0;
  char header_path[512];
  std::size_t header_path_size = 0;

  std::size_t have = 0;
  for (;;) {
    const long got = sys::read(static_cast<int>(fd), scratch + have, kScratchBytes - have);
    if (got < 0) count(g_counters.lost_modules);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
    std::size_t begin = 0;
    for (std::size_t i = 0; i < have; ++i) {
      if (scratch[i] != '\n') continue;
      MapsLine line;
      const bool parsed = parse_line(scratch + begin, scratch + i, line);
      begin = i + 1;
      if (!parsed || line.path.empty()) continue;
      const bool vdso = line.path == "[vdso]";
      if (line.path[0] != '/' && !vdso) continue;
      if (line.offset == 0) {
        header = line.start;
        header_path_size = line.path.size() <= sizeof header_path ? line.path.size() : 0;
        __builtin_memcpy(header_path, line.path.data(), header_path_size);
      }
      if (!line.executable) continue;
      const bool same = line.path == std::string_view(header_path, header_path_size);
      add_loaded(line, same ? header : 0, notes, stacks);
    }
    if (begin == 0 && have == kScratchBytes) begin = have;  // a line longer than the buffer: given up
    have -= begin;
    __builtin_memmove(scratch, scratch + begin, have);
  }
  sys::close(static_cast<int>(fd));
}

std::uint32_t Modules::find(std::uint64_t address, StackId stack) const {
  const auto at = static_cast<std::uint32_t>(stack);
  std::uint32_t best = count_;
  for (std::uint32_t i = 0; i < count_; ++i) {
    const LoadedModule& module = modules_[i];
    if (address < module.start || address >= module.end || module.first_stack > at) continue;
    if (best == count_ || module.first_stack >= modules_[best].first_stack) best = i;
  }
  return best;
}

}  // namespace memtrace
