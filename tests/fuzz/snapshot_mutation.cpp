#include "tests/fuzz/snapshot_mutation.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <string>

namespace memtrace::fuzz {
namespace {

constexpr std::size_t kMostFrames = 256;  // that the writer takes
constexpr std::size_t kMostRecords = 4096;

// What grouping, naming and printing treat in a way of their own, and what they must survive.
constexpr std::array kTexts = {
    "",
    "/srv/payments",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "libjvm.so",
    "[vdso]",
    "a b (deleted)",
    "operator new(unsigned long)",
    "A::operator()(int) const",
    "std::vector<std::map<int, operator->>, (anonymous namespace)::x>::f((x) const&)",
    "<alloc::vec::Vec<T> as X>::f",
    "f((((((((((",
    ">>>>>>>>operator<",
    "\xc2\x9b\x1b[31m\n\r\t\"\\",
    "lost_table_full",
    "lost",
    "truncated_stacks",
    "failed_unwinds",
};

class Mutation {
 public:
  Mutation(Snapshot& snapshot, const Snapshot& other, Random& random)
      : s_(snapshot), other_(other), random_(random) {}

  void one() {
    switch (below(14)) {
      case 0:
        return header();
      case 1:
        return clocks();
      case 2:
        return add_record();
      case 3:
        return change_record();
      case 4:
        return take_records();
      case 5:
        return remove_records();
      case 6:
        return add_stack();
      case 7:
        return change_stack();
      case 8:
        return add_location();
      case 9:
        return add_module();
      case 10:
        return change_module();
      case 11:
        return thread();
      case 12:
        return counter();
      default:
        return batch();
    }
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  // Not of an empty list.
  template <class List>
  auto& any_of(List& list) {
    return list[below(list.size())];
  }
  template <class List>
  std::uint32_t index_in(const List& list) {
    return static_cast<std::uint32_t>(below(list.size()));
  }

  // Mostly small, some of them at the edges of their types.
  std::uint64_t number() {
    constexpr std::array<std::uint64_t, 10> kEdges = {0,
                                                      1,
                                                      512 * 1024,
                                                      std::uint64_t{1} << 31,
                                                      UINT32_MAX,
                                                      std::uint64_t{1} << 52,
                                                      std::uint64_t{1} << 62,
                                                      std::numeric_limits<std::int64_t>::max(),
                                                      std::uint64_t{1} << 63,
                                                      UINT64_MAX};
    if (one_in(4)) return any_of(kEdges) + below(3) - 1;
    const auto word = std::uint64_t{random_()} << 32 ^ std::uint64_t{random_()} << 16 ^ random_();
    return word >> below(64);
  }
  std::int64_t signed_number() { return static_cast<std::int64_t>(number()); }
  // Modulo 2^64: clocks may be anything.
  static std::int64_t earlier(std::int64_t time_ns, std::uint64_t by) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(time_ns) - by);
  }
  // A stack's totals are not negative.
  std::uint64_t total() { return number() >> 1; }

  std::string text() {
    std::string text = any_of(kTexts);
    while (one_in(3)) text += any_of(kTexts);
    if (one_in(16)) text.append(below(5000), text.empty() ? '<' : text.back());
    return text;
  }

  void header() {
    switch (below(8)) {
      case 0:
        s_.session = other_.session;
        break;
      case 1:
        s_.session.bytes[below(16)] ^= 1;
        break;
      case 2:
        s_.mode = one_in(2) ? SamplingMode::kAll : SamplingMode::kPoissonBytes;
        break;
      case 3:
        s_.interval_bytes = std::max<std::uint64_t>(1, one_in(2) ? other_.interval_bytes : number());
        break;
      case 4:
        s_.rss_bytes = number();
        break;
      case 5:
        s_.exe = text();
        break;
      case 6:
        s_.host = text();
        break;
      default:
        s_.label = text();
    }
  }

  void clocks() {
    switch (below(5)) {
      case 0:
        s_.realtime_ns = signed_number();
        break;
      case 1:
        s_.monotonic_ns = signed_number();
        break;
      case 2:
        s_.monotonic_ns = earlier(other_.monotonic_ns, below(1000) - 500);
        break;
      case 3:
        s_.start_monotonic_ns = signed_number();
        break;
      default:
        s_.sequence = number();
    }
  }

  void randomize(Record& record) {
    switch (below(7)) {
      case 0:
        record.sample_number = number();
        break;
      case 1:
        record.size_bytes = number();
        break;
      case 2:
        record.birth_ns = signed_number();
        break;
      case 3:
        record.birth_ns = earlier(s_.monotonic_ns, below(1'000'000'000));
        break;
      case 4:
        record.stack = index_in(s_.stacks);
        break;
      case 5:
        record.thread = static_cast<std::uint32_t>(one_in(4) ? number() : below(4));
        break;
      default:
        record.kind = static_cast<AllocKind>(below(5));
    }
  }

  [[nodiscard]] bool takes_records() const { return !s_.stacks.empty() && s_.records.size() < kMostRecords; }
  void add_record() {
    if (!takes_records()) return;
    Record record;
    if (!s_.records.empty()) record = any_of(s_.records);
    randomize(record);
    randomize(record);
    s_.records.push_back(record);
  }
  void change_record() {
    if (!s_.records.empty()) randomize(any_of(s_.records));
  }
  // So that blocks are alive in both.
  void take_records() {
    for (const Record& record : other_.records) {
      if (!takes_records()) return;
      if (one_in(3)) continue;
      s_.records.push_back(record);
      s_.records.back().stack %= static_cast<std::uint32_t>(s_.stacks.size());
    }
  }
  void remove_records() {
    const std::size_t n = 1 + below(8);
    std::erase_if(s_.records, [&](const Record&) { return one_in(n); });
  }
  // As a leak would: a row of births at one stack.
  void batch() {
    if (s_.stacks.empty()) return;
    Record record{.sample_number = number(),
                  .address = 0x1000,
                  .size_bytes = number(),
                  .birth_ns = s_.monotonic_ns,
                  .stack = index_in(s_.stacks)};
    const std::uint64_t step = one_in(4) ? number() : below(1'000'000'000);
    for (std::size_t n = below(60); n > 0 && takes_records(); --n) {
      s_.records.push_back(record);
      ++record.sample_number;
      record.birth_ns = earlier(record.birth_ns, step);
    }
  }

  void add_stack() {
    Stack stack;
    stack.first_frame = static_cast<std::uint32_t>(s_.frames.size());
    std::size_t count = one_in(16) ? below(kMostFrames + 1) : below(6);
    if (s_.locations.empty()) count = 0;
    stack.frame_count = static_cast<std::uint32_t>(count);
    for (; count > 0; --count) s_.frames.push_back(index_in(s_.locations));
    s_.stacks.push_back(stack);
    add_record();
  }
  void change_stack() {
    if (s_.stacks.empty()) return;
    Stack& stack = any_of(s_.stacks);
    switch (below(4)) {
      case 0:
        stack.truncated = !stack.truncated;
        break;
      case 1:
        stack.allocated_bytes = total();
        break;
      case 2:
        stack.freed_count = total();
        break;
      default:
        if (stack.frame_count > 0) {
          s_.frames[stack.first_frame + below(stack.frame_count)] = index_in(s_.locations);
        }
    }
  }

  void add_location() {
    Location location;
    location.address = LookupAddress{number()};
    if (!s_.modules.empty() && !one_in(4)) {
      location.module = index_in(s_.modules);
      const Module& module = s_.modules[location.module];
      if (!one_in(4)) location.address = LookupAddress{module.start + below(64)};
    }
    s_.locations.push_back(location);
    add_stack();
  }

  void place(Module& module) {
    module.start = number();
    module.end = std::max(module.start, module.start + below(1 << 20));
  }
  void add_module() {
    Module module;
    if (!other_.modules.empty() && one_in(2)) {
      module = any_of(other_.modules);
    } else {
      place(module);
      module.path = text();
    }
    s_.modules.push_back(module);
    add_location();
  }
  void change_module() {
    if (s_.modules.empty()) return;
    Module& module = any_of(s_.modules);
    switch (below(4)) {
      case 0:
        module.path = text();
        break;
      case 1:
        module.build_id = one_in(2) ? "" : "00ff";
        break;
      case 2:
        module.file_offset = number();
        break;
      default:
        place(module);
    }
  }

  void thread() { s_.threads[static_cast<std::uint32_t>(below(5))] = {number(), text()}; }
  void counter() { s_.self[text()] = number(); }

  Snapshot& s_;
  const Snapshot& other_;
  Random& random_;
};

}  // namespace

void mutate(Snapshot& snapshot, const Snapshot& other, Random& random) {
  Mutation mutation(snapshot, other, random);
  do mutation.one();
  while (random() % 2 == 0);
}

}  // namespace memtrace::fuzz
