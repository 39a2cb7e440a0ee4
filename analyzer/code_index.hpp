// One numbering of code places and stacks for all snapshots of a run, without symbols.
//
// A place is (module, offset in its file); modules are the same when their build-ids are, and where there is
// none when their paths are. So a call site is found again under ASLR, after a restart, and on another
// machine with the same build. Code outside any module (JIT) is known by its absolute address alone.
//
// One thread at a time. Snapshots that were added must outlive the index.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "analyzer/keyed_hash.hpp"
#include "format/snapshot.hpp"

namespace memtrace {

struct Place {
  std::uint32_t module = kNoModule;  // index for CodeIndex::module
  std::uint64_t offset = 0;          // in the module's file; without a module the absolute address
  std::uint64_t address = 0;         // absolute, as in the snapshot that was added first
};

class CodeIndex {
 public:
  // Stack numbers of the index, one for each of snapshot.stacks.
  [[nodiscard]] std::vector<std::uint32_t> add(const Snapshot& snapshot);

  [[nodiscard]] std::uint32_t stack_count() const { return static_cast<std::uint32_t>(stacks_.size()); }
  // Places of a stack, innermost first.
  [[nodiscard]] std::span<const std::uint32_t> places(std::uint32_t stack) const {
    return std::span(frames_).subspan(stacks_[stack].first, stacks_[stack].count);
  }
  [[nodiscard]] std::uint32_t place_count() const { return static_cast<std::uint32_t>(places_.size()); }
  [[nodiscard]] const Place& place(std::uint32_t place) const { return places_[place]; }
  // Null for code outside any module.
  [[nodiscard]] const Module* module(const Place& place) const {
    return place.module == kNoModule ? nullptr : modules_[place.module];
  }

 private:
  struct Range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  struct PlaceKey {
    std::uint32_t module;
    std::uint64_t offset;
    bool operator==(const PlaceKey&) const = default;
  };
  struct PlaceHash {
    KeyedHash hash;
    std::size_t operator()(const PlaceKey& key) const {
      return hash(key.offset + hash(std::uint64_t{key.module}));
    }
  };

  std::uint32_t intern_module(const Module& module);
  std::uint32_t intern_place(std::uint32_t module, std::uint64_t offset, std::uint64_t address);
  // The stack at the end of frames_, from `first` on: kept if new, else taken off again.
  std::uint32_t intern_stack(std::uint32_t first);

  std::vector<const Module*> modules_;
  std::vector<Place> places_;
  std::vector<std::uint32_t> frames_;
  std::vector<Range> stacks_;
  std::unordered_map<std::string, std::uint32_t, KeyedHash> module_by_identity_;
  std::unordered_map<PlaceKey, std::uint32_t, PlaceHash> place_by_key_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> stack_by_hash_;
};

}  // namespace memtrace
