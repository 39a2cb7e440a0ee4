#include "analyzer/code_index.hpp"

#include <algorithm>

namespace memtrace {

std::uint32_t CodeIndex::intern_module(const Module& module) {
  std::string identity = module.build_id.empty() ? "path " + module.path : "build-id " + module.build_id;
  const auto next = static_cast<std::uint32_t>(modules_.size());
  const auto [found, inserted] = module_by_identity_.try_emplace(std::move(identity), next);
  if (inserted) modules_.push_back(&module);
  return found->second;
}

std::uint32_t CodeIndex::intern_place(std::uint32_t module, std::uint64_t offset, std::uint64_t address) {
  const auto next = static_cast<std::uint32_t>(places_.size());
  const auto [found, inserted] = place_by_key_.try_emplace(PlaceKey{module, offset}, next);
  if (inserted) places_.push_back({module, offset, address});
  return found->second;
}

std::uint32_t CodeIndex::intern_stack(std::uint32_t first) {
  const auto added = std::span(frames_).subspan(first);
  std::uint64_t hash = added.size() + HashKey::of_this_process().first;
  for (const auto place : added) hash = mix(hash + place + 0x9e3779b97f4a7c15U);
  const auto [begin, end] = stack_by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (std::ranges::equal(places(it->second), added)) {
      frames_.resize(first);
      return it->second;
    }
  }
  const auto stack = static_cast<std::uint32_t>(stacks_.size());
  stacks_.push_back({first, static_cast<std::uint32_t>(added.size())});
  stack_by_hash_.emplace(hash, stack);
  return stack;
}

std::vector<std::uint32_t> CodeIndex::add(const Snapshot& snapshot) {
  std::vector<std::uint32_t> modules;
  modules.reserve(snapshot.modules.size());
  for (const auto& module : snapshot.modules) modules.push_back(intern_module(module));

  std::vector<std::uint32_t> places;
  places.reserve(snapshot.locations.size());
  place_by_key_.reserve(place_by_key_.size() + snapshot.locations.size());
  for (const auto& location : snapshot.locations) {
    const std::uint64_t address = value(location.address);
    if (location.module == kNoModule) {
      places.push_back(intern_place(kNoModule, address, address));
    } else {
      const auto& module = snapshot.modules[location.module];
      places.push_back(
          intern_place(modules[location.module], address - module.start + module.file_offset, address));
    }
  }

  std::vector<std::uint32_t> stacks;
  stacks.reserve(snapshot.stacks.size());
  frames_.reserve(frames_.size() + snapshot.frames.size());
  stack_by_hash_.reserve(stack_by_hash_.size() + snapshot.stacks.size());
  for (const auto& stack : snapshot.stacks) {
    const auto first = static_cast<std::uint32_t>(frames_.size());
    for (const auto location : std::span(snapshot.frames).subspan(stack.first_frame, stack.frame_count)) {
      frames_.push_back(places[location]);
    }
    stacks.push_back(intern_stack(first));
  }
  return stacks;
}

}  // namespace memtrace
