// Which object's unwind rules hold for an address, and whether they may be read.
//
// Called by: the compiled unwinder, when it meets a return address for the first time (cold). Any thread;
// lock-free; signal-safe. Objects that were loaded when the shim started are never unloaded: their tables may
// be read whatever led to the address. Others may be closed by another thread, unless a frame of the calling
// stack lies in them: they are read for such addresses alone. Memory: none but its own arrays, fixed.
// Full: objects beyond kMaxPermanent count as ones that were loaded later.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/types.hpp"
#include "preload/unwind/cfi.hpp"

struct dl_phdr_info;

namespace memtrace {

// How we came by an address: as the return address of a frame, or by a guess that may be wrong.
enum class Trust : std::uint8_t { kFrame, kGuess };

class CodeObjects {
 public:
  enum class Found : std::uint8_t {
    kRules,    // `tables` may be read
    kNoRules,  // an object holds the address, but it has no rules, or none that may be read now
    kNothing,  // no object holds it: generated code, or no code at all
  };

  // Once, at start, where the loader may be asked.
  void start();

  // `certain`: frames of the calling stack. `replaced`: set if an object lies where another one was: rules
  // that were compiled may be that one's.
  [[nodiscard]] Found find(std::uintptr_t address, Trust trust, std::span<const ReturnAddress> certain,
                           CfiTables& tables, bool& replaced);

 private:
  struct Object {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    CfiTables tables;
  };
  struct Seen {
    std::atomic<std::uintptr_t> begin{0};  // 0: free; stored last
    std::atomic<std::uintptr_t> end{0};
    std::atomic<std::uint64_t> identity{0};
  };
  static constexpr std::size_t kMaxPermanent = 512;
  static constexpr std::size_t kMaxSeen = 256;

  static int add_permanent(dl_phdr_info* info, std::size_t size, void* self);
  [[nodiscard]] const Object* permanent(std::uintptr_t address) const;
  [[nodiscard]] bool takes_anothers_place(std::uintptr_t begin, std::uintptr_t end, std::uint64_t identity);

  Object permanent_[kMaxPermanent];  // by address, disjoint
  std::size_t permanent_count_ = 0;
  Seen seen_[kMaxSeen];
};

}  // namespace memtrace
