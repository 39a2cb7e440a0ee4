// Would break: the host, by a walk over whatever its registers and its stack hold, or over damaged unwind
// tables.
//
// The input chooses: tables of a real library with bytes changed, from which rules are compiled; or a stack
// of random words, random registers and random rules, walked. Behind every range lie pages that forbid
// reading: a fault is a finding. So is a walk that does not end, or that writes more than it may.
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "tests/fuzz/require.hpp"
#include "tests/support/mapped_object.hpp"

// Whole, for its cache: rules of any kind are put where walks find them.
#include "preload/unwind/compiled_cfi.cpp"

namespace memtrace {

constinit thread_local ThreadState t_state [[gnu::tls_model("initial-exec")]];

namespace {

using fuzz::require;

// The bytes of the input; after its end, what they are the seed of.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {
    for (const std::uint8_t* byte = at_; byte < end_; ++byte) seed_ = (seed_ ^ *byte) * 0x100000001b3;
  }
  template <class T>
  T get() {
    T value{};
    if (static_cast<std::size_t>(end_ - at_) >= sizeof value) {
      __builtin_memcpy(&value, at_, sizeof value);
      at_ += sizeof value;
    } else {
      const std::uint64_t word = next();
      __builtin_memcpy(&value, &word, sizeof value);
    }
    return value;
  }
  std::uint8_t byte() { return get<std::uint8_t>(); }
  std::uint64_t below(std::uint64_t bound) { return get<std::uint32_t>() % bound; }
  std::uint64_t next() {
    seed_ ^= seed_ << 13;
    seed_ ^= seed_ >> 7;
    seed_ ^= seed_ << 17;
    return seed_ * 0x2545f4914f6cdd1d;
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
  std::uint64_t seed_ = 0xcbf29ce484222325;
};

// --- tables ---

// A library's tables between pages that forbid reading: flush with the first one, or with the last one.
class Tables {
 public:
  Tables(const char* path, bool flush_with_end) {
    const test::MappedObject object(path);
    const CfiTables& from = object.tables();
    const std::size_t bytes = from.end - from.begin;
    const std::size_t room = round_to_pages(bytes);
    auto* pages = static_cast<char*>(
        mmap(nullptr, room + 2 * kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    require(pages != MAP_FAILED && mprotect(pages + kPageBytes, room, PROT_READ | PROT_WRITE) == 0);
    char* to = pages + kPageBytes + (flush_with_end ? room - bytes : 0);
    __builtin_memcpy(to, reinterpret_cast<const void*>(from.begin), bytes);
    const auto begin = reinterpret_cast<std::uintptr_t>(to);
    tables_ = {begin, begin + bytes, begin + (from.header - from.begin)};
    __builtin_memcpy(&count_, at(tables_.header + 8), sizeof count_);
  }

  void try_one(Input& input) {
    // One function of the header's sorted table; its entry, its common entry, and the table around it.
    const std::size_t i = input.below(count_);
    std::int32_t pair[2];
    const std::uintptr_t row = tables_.header + 12 + 8 * i;
    __builtin_memcpy(pair, at(row), sizeof pair);
    const std::uintptr_t location = tables_.header + static_cast<std::uintptr_t>(std::int64_t{pair[0]});
    const std::uintptr_t entry = tables_.header + static_cast<std::uintptr_t>(std::int64_t{pair[1]});
    std::uint32_t distance;
    __builtin_memcpy(&distance, at(entry + 4), sizeof distance);
    const std::uintptr_t places[] = {entry, entry + 4 - distance, row, tables_.header, tables_.end - 16};

    struct Change {
      std::uintptr_t at;
      char was;
    } changes[16];
    const std::size_t wanted = input.below(std::size(changes) + 1);
    std::size_t changed = 0;
    CfiTables given = tables_;
    for (; changed < wanted; ++changed) {
      const std::uintptr_t where =
          places[input.below(std::size(places))] + input.below(changed % 2 ? 24 : 80);
      const std::uint8_t value = input.byte();
      changes[changed] = {where, 0};
      if (where >= tables_.end) break;
      changes[changed].was = *at(where);
      *at(where) = static_cast<char>(input.byte() % 2 ? value : changes[changed].was ^ (1 << value % 8));
    }
    if (input.byte() % 8 == 0) given.begin += input.below(given.end - given.begin);
    if (input.byte() % 8 == 0) given.header = given.begin + input.below(given.end - given.begin + 32);
    const std::uintptr_t address =
        input.byte() % 16 ? location + input.below(600) : input.get<std::uint64_t>();
    check(compile_step(given, address));
    while (changed > 0) {
      --changed;
      *at(changes[changed].at) = changes[changed].was;
    }
  }

 private:
  static char* at(std::uintptr_t address) { return reinterpret_cast<char*>(address); }

  // What step_rule.hpp promises of a rule.
  static void check(StepRule rule) {
    require(rule.kind() != StepKind::kNone);
    require(rule.slot() >= 1);
    if (rule.is_plain()) require(rule.signed_offset() >= 8 && rule.signed_offset() < StepRule::kMaxOffset);
    if (rule.kind() == StepKind::kRsp) require(rule.slot() * 8 <= rule.offset());
  }

  CfiTables tables_;
  std::uint32_t count_ = 0;
};

// --- walks ---

constexpr std::size_t kPages = 24;

// Pages in which stacks lie, some of them unreadable, or past the end of their file.
struct Region {
  char* base;
  std::uint32_t readable;  // by bit

  Region(std::uint32_t readable_pages, bool of_file) : readable(readable_pages) {
    const int file = of_file ? memfd_create("stack", MFD_CLOEXEC) : -1;
    if (of_file) {  // its last pages exist in the mapping alone: reading there is SIGBUS
      require(ftruncate(file, kPages / 2 * kPageBytes) == 0);
      readable &= (1u << kPages / 2) - 1;
    }
    base = static_cast<char*>(mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE,
                                   of_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, file, 0));
    require(base != MAP_FAILED);
    if (of_file) close(file);
    for (std::size_t page = 0; page < kPages; ++page) {
      if (!(readable_pages >> page & 1)) {
        require(mprotect(base + page * kPageBytes, kPageBytes, PROT_NONE) == 0);
      }
    }
  }
  [[nodiscard]] bool can_hold(std::size_t offset) const {
    return offset + sizeof(std::uintptr_t) <= kPages * kPageBytes && (readable >> offset / kPageBytes & 1) &&
           (readable >> (offset + 7) / kPageBytes & 1);
  }
  void put(std::size_t offset, std::uintptr_t word) {
    if (can_hold(offset)) __builtin_memcpy(base + offset, &word, sizeof word);
  }
  [[nodiscard]] std::uintptr_t at(std::size_t offset) const {
    return reinterpret_cast<std::uintptr_t>(base) + offset;
  }
};

class Walks {
 public:
  Walks() {
    arena_.start(64 << 20);
    require(start_cfi(arena_));
    regions_.emplace_back(0xffffffu, false);
    regions_.emplace_back(0xffffffu, true);
    for (const std::uint32_t holes :
         {0xfffffeu, 0x7fffffu, 0xfff7ffu, 0xaaaaaau, 0xf0f0f0u, 0xff00ffu, 0x000ff0u}) {
      regions_.emplace_back(holes, false);
    }
    const auto code = reinterpret_cast<std::uintptr_t>(&capture_by_cfi);
    const auto libc = reinterpret_cast<std::uintptr_t>(&mprotect);
    for (std::uintptr_t i = 0; i < 96; ++i) {
      addresses_.push_back(code + i * 7);
      addresses_.push_back(libc + i * 5);
    }
    for (const Region& region : regions_) addresses_.push_back(region.at(region.readable & 1 ? 40 : 0));
    for (const std::uintptr_t odd :
         {std::uintptr_t{0}, std::uintptr_t{1}, std::uintptr_t{4096}, std::uintptr_t{4097},
          std::uintptr_t{1} << 47, (std::uintptr_t{1} << 47) - 1, UINTPTR_MAX}) {
      addresses_.push_back(odd);
    }
  }

  void try_one(Input& input) {
    if (input.byte() % 64 == 0) {
      g_cfi.rules.clear();
      if (input.byte() % 4) {  // or their own rules are compiled
        for (const std::uintptr_t address : addresses_) {
          g_cfi.rules.insert(address + (input.byte() % 8 == 0), StepRule(random_rule(input)));
        }
      }
    }
    for (std::size_t i = input.below(6); i > 0; --i) {
      const std::uintptr_t address = addresses_[input.below(addresses_.size())];
      g_cfi.rules.insert(address + (input.byte() % 8 == 0), StepRule(random_rule(input)));
    }
    Region& region = regions_[input.below(regions_.size())];
    std::size_t cfa = input.below(kPages * kPageBytes);
    if (input.byte() % 8) cfa &= ~std::size_t{7};
    // A hook's caller has pushed its return address.
    for (std::size_t tries = 0; cfa < 8 || !region.can_hold(cfa - 8); ++tries) {
      if (tries == kPages) return;
      cfa = (cfa + kPageBytes) % (kPages * kPageBytes);
    }
    region.put(cfa - 8, input.byte() % 4 ? addresses_[input.below(addresses_.size())] : random_word(input));
    const std::size_t spread = std::size_t{1} << (6 + input.below(9));
    if (input.byte() % 4) {  // any step finds a return address, or a place of the stack
      const std::uint64_t places = input.below(7) + 1;
      for (std::size_t where = cfa & ~std::size_t{7}; where < cfa + spread; where += sizeof(std::uint64_t)) {
        const std::uint64_t random = input.next();
        region.put(where, random % 8 < places ? addresses_[(random >> 8) % addresses_.size()]
                                              : region.at((where + (random >> 8) % 512) & ~std::uint64_t{7}));
      }
    }
    for (std::size_t more = input.below(24); more > 0; --more) {
      std::size_t where = cfa + input.below(spread);
      if (input.byte() % 16) where &= ~std::size_t{7};
      region.put(where, random_word(input));
    }
    const std::uintptr_t rbp =
        input.byte() % 4 ? region.at((cfa + input.below(256)) & ~std::size_t{7}) : random_word(input);

    // As if the stack were the thread's own, as far as it is readable.
    ThreadSlab* slab = g_thread_slabs.of_this_thread();
    if (!slab) return;
    slab->stack_low = slab->stack_high = 0;
    if (spread % 3 == 1) {
      std::size_t low = (cfa - 8) / kPageBytes;
      std::size_t high = low;
      while (low > 0 && (region.readable >> (low - 1) & 1)) --low;
      while (high < kPages && (region.readable >> high & 1)) ++high;
      slab->stack_low = region.at(low * kPageBytes);
      slab->stack_high = region.at(high * kPageBytes);
    }

    constexpr std::size_t kMost = 64;
    constexpr ReturnAddress kUntouched{0x5555'aaaa'5555'aaaa};
    ReturnAddress frames[kMost + 1];
    const std::size_t room = spread % 5 == 0 ? spread % kMost : kMost;
    frames[room] = kUntouched;
    const Caller caller{reinterpret_cast<const void*>(region.at(cfa)), reinterpret_cast<const void*>(rbp)};
    const Captured captured = capture_by_cfi(caller, frames, room);
    require(captured.frames <= room && captured.certain <= captured.frames);
    require(frames[room] == kUntouched);
    require(captured.frames == 0 || frames[0] == caller.return_address());
    longest = captured.frames > longest ? captured.frames : longest;
    total += captured.frames;
  }

  std::uint64_t total = 0;
  std::uint32_t longest = 0;

 private:
  static std::uint64_t random_rule(Input& input) {
    if (input.byte() % 16 == 0) return input.get<std::uint64_t>();
    const std::uint8_t choice = input.byte() % 32;  // mostly what code mostly has
    const auto kind = choice < 8    ? static_cast<StepKind>(choice)
                      : choice < 24 ? StepKind::kRsp
                                    : StepKind::kRbp;
    const std::uint64_t words = input.below(40);
    const std::uint64_t slot = 1 + input.below(choice % 4 && words > 0 ? words : StepRule::kMaxSlot);
    const auto offset = static_cast<std::int64_t>(words * 8);
    return StepRule(kind, kind == StepKind::kRbpAt ? -offset : offset, slot).body();
  }

  std::uintptr_t random_word(Input& input) {
    const std::uint8_t kind = input.byte();
    if (kind < 120) return addresses_[input.below(addresses_.size())];
    if (kind < 230)
      return regions_[input.below(regions_.size())].at(input.below(kPages * kPageBytes) &
                                                       (kind % 8 ? ~7u : ~0u));
    if (kind < 240) return input.below(4096);
    return input.get<std::uint64_t>();
  }

  PageArena arena_;
  std::vector<Region> regions_;
  std::vector<std::uintptr_t> addresses_;
};

struct Everything {
  std::vector<std::unique_ptr<Tables>> tables;
  Walks walks;
  Everything() {
    for (const char* path :
         {"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libgcc_s.so.1", "/proc/self/exe"}) {
      tables.push_back(std::make_unique<Tables>(path, false));
      tables.push_back(std::make_unique<Tables>(path, true));
    }
  }
};

Everything& everything() {
  static Everything all;
  return all;
}

}  // namespace
}  // namespace memtrace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  memtrace::Input input(data, size);
  auto& all = memtrace::everything();
  if (input.byte() % 3 == 0) {
    all.tables[input.below(all.tables.size())]->try_one(input);
  } else {
    all.walks.try_one(input);
  }
  return 0;
}

// For the figures of a run.
extern "C" std::uint64_t memtrace_fuzz_frames() { return memtrace::everything().walks.total; }
