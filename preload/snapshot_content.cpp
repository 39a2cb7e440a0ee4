#include "preload/snapshot_content.hpp"

#include <errno.h>

#include "preload/counters.hpp"
#include "preload/sys/pages.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"
#include "preload/tracker_stacks.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

// Pages for the time of one snapshot: not from the arena, whose cap is for the tables.
template <class T>
class Pages {
 public:
  explicit Pages(std::size_t count) : count_(count) {
    if (count) data_ = static_cast<T*>(sys::map_pages(count * sizeof(T)));
  }
  ~Pages() {
    if (data_) sys::unmap_pages(data_, round_to_pages(count_ * sizeof(T)));
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  [[nodiscard]] bool ok() const { return data_ || count_ == 0; }
  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return count_; }
  T& operator[](std::size_t i) const { return data_[i]; }
  void swap(Pages& other) {
    T* const data = data_;
    const std::size_t count = count_;
    data_ = other.data_;
    count_ = other.count_;
    other.data_ = data;
    other.count_ = count;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

// Stacks interned while a snapshot runs have ids past this slack at the latest; their records wait for the
// next one.
constexpr std::uint32_t kNewStacks = 16 * 1024;

std::uint64_t rounded(std::uint64_t fixed_point, int bits) {
  return (fixed_point + (std::uint64_t{1} << (bits - 1))) >> bits;
}

std::uint64_t larger_of(std::uint64_t a, std::uint64_t b) { return a < b ? b : a; }

// What is live, by stack and by thread, gathered while the records go out.
struct Live {
  Pages<Weight> by_stack;           // [StackId - 1]
  Pages<Weight> pending;            // the same: allocated, and not in the stack's own sums yet
  Pages<std::uint8_t> thread_seen;  // [serial]

  std::uint64_t records = 0;
  std::uint64_t left_out = 0;

  Live(std::uint32_t stacks, std::uint32_t threads)
      : by_stack(stacks), pending(stacks), thread_seen(threads) {}
};

void write_record(SnapshotWriter& writer, Live& live, const RecordInfo& info, StackId stack,
                  const Weight& weight) {
  const auto id = static_cast<std::uint32_t>(stack);
  if (id == 0 || id > live.by_stack.size()) {
    ++live.left_out;
    return;
  }
  RecordInfo out = info;
  out.stack = id - 1;
  writer.record(out);
  ++live.records;
  if (info.thread < live.thread_seen.size()) live.thread_seen[info.thread] = 1;
  if (!counts_as_live(info.kind)) return;
  live.by_stack[id - 1].count += weight.count;
  live.by_stack[id - 1].bytes += weight.bytes;
}

int write_heap(SnapshotWriter& writer, Live& live) {
  Pages<LiveRecord> copy(0);
  for (std::uint32_t shard = 0; shard < g_tracker.live.shard_count(); ++shard) {
    std::size_t copied = SIZE_MAX;
    for (int attempt = 0; attempt < 4 && copied == SIZE_MAX; ++attempt) {
      const std::size_t records = g_tracker.live.records_in(shard);
      if (records > copy.size()) {
        Pages<LiveRecord> larger(records * 2);
        if (!larger.ok()) return ENOMEM;
        copy.swap(larger);
      }
      copied = g_tracker.live.copy_shard(shard, copy.data(), copy.size());
    }
    if (copied == SIZE_MAX) {  // a thread that was cancelled took its lock along
      live.left_out += g_tracker.live.records_in(shard);
      continue;
    }
    for (std::size_t i = 0; i < copied; ++i) {
      const LiveRecord& record = copy[i];
      write_record(writer, live,
                   {record.sample_number, record.address, record.size_bytes, record.birth_ns, 0,
                    record.thread, AllocKind::kHeap},
                   record.stack, g_tracker.sampler.weight(record.size_bytes));
    }
  }
  return 0;
}

int write_maps(SnapshotWriter& writer, Live& live) {
  std::size_t copied = SIZE_MAX;
  for (int attempt = 0; attempt < 4 && copied == SIZE_MAX; ++attempt) {
    const Pages<Mapping> copy(g_tracker.maps.mappings() + 256);
    if (!copy.ok()) return ENOMEM;
    copied = g_tracker.maps.copy(copy.data(), copy.size());
    if (copied == SIZE_MAX) continue;
    for (std::size_t i = 0; i < copied; ++i) {
      const Mapping& mapping = copy[i];
      write_record(writer, live,
                   {mapping.sample_number, mapping.address, mapping.size_bytes, mapping.birth_ns, 0,
                    mapping.thread, mapping.kind},
                   mapping.stack,
                   {std::uint64_t{1} << Weight::kCountBits, mapping.size_bytes << Weight::kBytesBits});
    }
  }
  if (copied == SIZE_MAX) live.left_out += g_tracker.maps.mappings();
  return 0;
}

// The executable's first segment is mapping 1, as pprof wants it; the others follow in the order of the list.
std::uint64_t module_id(const Modules& modules, std::uint32_t index) {
  const std::uint32_t first = modules.executable();
  if (index == modules.size()) return 0;
  if (index == first) return 1;
  return index < first ? std::uint64_t{index} + 2 : std::uint64_t{index} + 1;
}

// Addresses seen in stacks, each given a location id when first met: one for each object that it has belonged
// to.
class Locations {
 public:
  Locations() : slots_(kFirst) {}
  [[nodiscard]] bool ok() const { return slots_.ok(); }

  // 0: no memory.
  std::uint64_t id_of(SnapshotWriter& writer, const Modules& modules, ReturnAddress address, StackId stack) {
    if (used_ * 2 >= slots_.size() && !grow()) return 0;
    const std::uint64_t lookup = value(lookup_address(address));
    // Searching the list costs more than the rest: once per address, unless its place was used again.
    std::uint64_t generation = modules.places_reused() ? modules.find(lookup, stack) : 0;
    Slot* slot = find(value(address), generation);
    if (slot->address == 0) {
      *slot = {value(address), generation, ++used_};
      writer.location(slot->id, module_id(modules, modules.find(lookup, stack)),
                      static_cast<LookupAddress>(lookup));
    }
    return slot->id;
  }

 private:
  struct Slot {
    std::uint64_t address;
    std::uint64_t generation;
    std::uint64_t id;
  };
  static constexpr std::size_t kFirst = 4096;

  Slot* find(std::uint64_t address, std::uint64_t generation) {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = ((address + generation) * 0x9e3779b97f4a7c15 >> 20) & mask;
    while (slots_[i].address != 0 && (slots_[i].address != address || slots_[i].generation != generation)) {
      i = (i + 1) & mask;
    }
    return &slots_[i];
  }

  bool grow() {
    Pages<Slot> larger(slots_.size() * 2);
    if (!larger.ok()) return false;
    slots_.swap(larger);
    for (std::size_t i = 0; i < larger.size(); ++i) {
      if (larger[i].address != 0) *find(larger[i].address, larger[i].generation) = larger[i];
    }
    return true;
  }

  Pages<Slot> slots_;
  std::uint64_t used_ = 0;
};

void write_modules(SnapshotWriter& writer, const Modules& modules) {
  const std::uint32_t first = modules.executable();
  for (std::uint32_t turn = 0; turn <= modules.size(); ++turn) {
    const std::uint32_t i = turn == 0 ? first : turn - 1;
    if (i >= modules.size() || (turn > 0 && i == first)) continue;
    const LoadedModule& module = modules[i];
    writer.module(module_id(modules, i),
                  {module.start, module.end, module.file_offset, modules.path(module), module.build_id});
  }
}

int write_stacks(SnapshotWriter& writer, const Modules& modules, const Live& live) {
  Locations locations;
  Pages<std::uint64_t> ids(SnapshotWriter::kMaxFrames);
  if (!locations.ok() || !ids.ok()) return ENOMEM;
  std::uint32_t stacks = g_tracker.stacks.size();
  if (stacks > live.by_stack.size()) stacks = static_cast<std::uint32_t>(live.by_stack.size());
  for (std::uint32_t i = 0; i < stacks; ++i) {
    StackInfo info;
    const StackEntry* entry = g_tracker.stacks.find(static_cast<StackId>(i + 1));
    if (entry) {
      std::size_t frames = 0;
      for (const ReturnAddress address : entry->frames()) {
        if (frames == ids.size()) break;
        const std::uint64_t id = locations.id_of(writer, modules, address, static_cast<StackId>(i + 1));
        if (id == 0) return ENOMEM;
        ids[frames++] = id;
      }
      info.location_ids = {ids.data(), frames};
      info.truncated = entry->truncated != 0;
      // Allocated is counted after a table took it: what is live was allocated, whatever the sums know.
      const Weight& held = live.by_stack[i];
      const Weight& pending = live.pending[i];
      const std::uint64_t allocations =
          larger_of(entry->allocated_count.load(std::memory_order_relaxed) + pending.count, held.count);
      const std::uint64_t bytes =
          larger_of(entry->allocated_bytes.load(std::memory_order_relaxed) + pending.bytes, held.bytes);
      info.allocated_count = rounded(allocations, Weight::kCountBits);
      info.allocated_bytes = rounded(bytes, Weight::kBytesBits);
      info.freed_count = rounded(allocations - held.count, Weight::kCountBits);
      info.freed_bytes = rounded(bytes - held.bytes, Weight::kBytesBits);
    }
    info.live_count = rounded(live.by_stack[i].count, Weight::kCountBits);
    info.live_bytes = rounded(live.by_stack[i].bytes, Weight::kBytesBits);
    writer.sample(info);
  }
  return 0;
}

void write_thread(SnapshotWriter& writer, std::uint32_t serial, std::uint32_t tid) {
  FixedText<64> path;
  path << "/proc/self/task/" << tid << "/comm";
  char name[32];
  std::size_t size = 0;
  const long fd = tid ? sys::open(path.c_str(), O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    const long got = sys::read(static_cast<int>(fd), name, sizeof name);
    if (got > 0) size = static_cast<std::size_t>(got);
    if (size > 0 && name[size - 1] == '\n') --size;
    sys::close(static_cast<int>(fd));
  }
  writer.thread(serial, tid, {name, size});
}

// Newest first: a kernel thread id that was used again belongs to the newer thread, the older one is gone.
int write_threads(SnapshotWriter& writer, const Live& live) {
  constexpr std::uint32_t kTidBits = std::uint32_t{1} << 22;  // PID_MAX_LIMIT
  const Pages<std::uint8_t> named(kTidBits / 8);
  if (!named.ok()) return ENOMEM;
  for (std::size_t serial = live.thread_seen.size(); serial-- > 1;) {
    const std::uint32_t tid = g_tracker.threads.tid_of(static_cast<std::uint32_t>(serial));
    const auto bit = static_cast<std::uint8_t>(1u << (tid % 8));
    std::uint8_t& byte = named[(tid % kTidBits) / 8];
    const bool reused = (byte & bit) != 0;
    byte |= bit;
    if (live.thread_seen[serial]) write_thread(writer, static_cast<std::uint32_t>(serial), reused ? 0 : tid);
  }
  return 0;
}

}  // namespace

int write_content(SnapshotWriter& writer, const Modules& modules) {
  Live live(g_tracker.stacks.size() + kNewStacks, g_tracker.threads.last_serial() + 1);
  if (!live.by_stack.ok() || !live.pending.ok() || !live.thread_seen.ok()) return ENOMEM;
  write_modules(writer, modules);
  if (const int error = write_heap(writer, live)) return error;
  if (const int error = write_maps(writer, live)) return error;
  tracker::for_each_pending([&](StackId stack, const Weight& weight) {
    const auto id = static_cast<std::uint32_t>(stack);
    if (id == 0 || id > live.pending.size()) return;
    live.pending[id - 1].count += weight.count;
    live.pending[id - 1].bytes += weight.bytes;
  });
  if (const int error = write_stacks(writer, modules, live)) return error;
  if (const int error = write_threads(writer, live)) return error;
  count(g_counters.lost_in_snapshot, live.left_out);
  const std::uint64_t known = live.records + live.left_out;
  const std::uint64_t samples = larger_of(tracker::samples_recorded(), known);
  g_counters.samples_freed.store(samples - known, std::memory_order_relaxed);
  g_counters.own_bytes.store(g_tracker.arena.used_bytes(), std::memory_order_relaxed);
#define MEMTRACE_COUNTER(name, meaning)                         \
  writer.counter(#name, &g_counters.name == &g_counters.samples \
                            ? samples                           \
                            : g_counters.name.load(std::memory_order_relaxed));
#include "preload/counters.inc"
#undef MEMTRACE_COUNTER
  return 0;
}

}  // namespace memtrace
