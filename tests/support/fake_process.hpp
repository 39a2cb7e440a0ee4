// A process made of source lines: blocks come and go, snapshots are taken, and its symbols are known.
//
//   FakeProcess process;
//   const auto put = process.stack({{"Cache::put(int)", "src/cache.cc", 88}, {"main", "src/main.cc", 10}});
//   const auto block = process.allocate(put, 100);
//   const Snapshot then = process.snapshot_at(60);
//   process.free(block);
//   FakeSymbolizer symbols(process);
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "analyzer/symbols/symbolizer.hpp"
#include "format/snapshot.hpp"

namespace memtrace::test {

class FakeProcess {
 public:
  static constexpr std::int64_t kSecond = 1'000'000'000;

  // Places of one module; the same in every FakeProcess that asks for the same lines in the same order.
  std::uint32_t stack(const std::vector<SourceFrame>& frames) {
    std::vector<std::uint32_t> locations;
    for (const auto& frame : frames) locations.push_back(location({frame}));
    return stack_of(locations);
  }
  // A place with inlined functions, innermost first.
  std::uint32_t location(std::vector<SourceFrame> expanded) {
    for (std::uint32_t i = 0; i < symbols_.size(); ++i) {
      if (same(symbols_[i], expanded)) return i;
    }
    symbols_.push_back(std::move(expanded));
    return static_cast<std::uint32_t>(symbols_.size() - 1);
  }
  std::uint32_t stack_of(std::vector<std::uint32_t> locations) {
    stacks_.push_back(std::move(locations));
    return static_cast<std::uint32_t>(stacks_.size() - 1);
  }

  std::uint64_t allocate(std::uint32_t stack, std::uint64_t size, std::int64_t birth_s = 1,
                         AllocKind kind = AllocKind::kHeap, std::uint32_t thread = 0) {
    const std::uint64_t number = next_++;
    live_[number] = {.sample_number = number,
                     .address = 0x10000 * number,
                     .size_bytes = size,
                     .birth_ns = birth_s * kSecond,
                     .stack = stack,
                     .thread = thread,
                     .kind = kind};
    return number;
  }
  void free(std::uint64_t block) { live_.erase(block); }
  Record& record(std::uint64_t block) { return live_.at(block); }

  [[nodiscard]] Snapshot snapshot_at(std::int64_t second) {
    Snapshot s = header;
    s.format_version = kFormatVersion;
    s.realtime_ns = 1'790'000'000 * kSecond + second * kSecond;
    s.monotonic_ns = second * kSecond;
    s.sequence = ++sequence_;
    s.modules = {{base, base + 0x100000, 0x1000, module_path, build_id}};
    for (std::uint32_t i = 0; i < symbols_.size(); ++i) s.locations.push_back({LookupAddress{base + i}, 0});
    for (const auto& stack : stacks_) {
      s.stacks.push_back({.first_frame = static_cast<std::uint32_t>(s.frames.size()),
                          .frame_count = static_cast<std::uint32_t>(stack.size())});
      s.frames.insert(s.frames.end(), stack.begin(), stack.end());
    }
    for (const auto& [number, record] : live_) s.records.push_back(record);
    return s;
  }

  [[nodiscard]] const std::vector<std::vector<SourceFrame>>& symbols() const { return symbols_; }

  Snapshot header = default_header();
  std::uint64_t base = 0x555500000000;
  std::string module_path = "/srv/payments";
  std::string build_id = "abcd";

 private:
  static Snapshot default_header() {
    Snapshot s;
    s.session.bytes[0] = 1;
    s.pid = 4242;
    s.exe = "/srv/payments";
    s.host = "web-7";
    s.start_monotonic_ns = kSecond / 2;
    s.mode = SamplingMode::kAll;
    s.interval_bytes = 1;
    s.max_frames = 64;
    return s;
  }
  static bool same(const std::vector<SourceFrame>& a, const std::vector<SourceFrame>& b) {
    const auto equal = [](const SourceFrame& x, const SourceFrame& y) {
      return x.function == y.function && x.file == y.file && x.line == y.line;
    };
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), equal);
  }

  std::vector<std::vector<SourceFrame>> symbols_;
  std::vector<std::vector<std::uint32_t>> stacks_;
  std::map<std::uint64_t, Record> live_;
  std::uint64_t next_ = 1;
  std::uint64_t sequence_ = 0;
};

// Knows the lines of one FakeProcess; counts how often it is asked.
class FakeSymbolizer final : public Symbolizer {
 public:
  explicit FakeSymbolizer(const FakeProcess& process) : symbols_(process.symbols()) {}

  const std::vector<SourceFrame>& resolve(const Module&, std::uint64_t file_offset) override {
    ++asked;
    const std::uint64_t index = file_offset - 0x1000;
    return index < symbols_.size() ? symbols_[index] : nothing_;
  }
  [[nodiscard]] std::vector<std::string> notes() const override { return {}; }

  int asked = 0;

 private:
  std::vector<std::vector<SourceFrame>> symbols_;
  std::vector<SourceFrame> nothing_;
};

}  // namespace memtrace::test
