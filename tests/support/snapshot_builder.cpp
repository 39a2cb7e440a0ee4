#include "tests/support/snapshot_builder.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <tuple>

namespace memtrace::test {
namespace {

BuildId parse_build_id(const std::string& hex) {
  BuildId id;
  if (hex.size() % 2 != 0 || hex.size() > 2 * id.bytes.size()) throw std::invalid_argument("build-id " + hex);
  for (; id.size < hex.size() / 2; ++id.size) {
    id.bytes[id.size] =
        static_cast<std::uint8_t>(std::stoul(hex.substr(std::size_t{2} * id.size, 2), nullptr, 16));
  }
  return id;
}

void write_header(SnapshotWriter& writer, const Snapshot& s) {
  std::string tags;
  for (const std::string& tag : s.tags) tags += (tags.empty() ? "" : ",") + tag;
  writer.process({.session = s.session,
                  .pid = s.pid,
                  .ppid = s.ppid,
                  .boot_id = s.boot_id,
                  .exe = s.exe,
                  .host = s.host,
                  .tags = tags,
                  .rss_bytes = s.rss_bytes,
                  .start_realtime_ns = s.start_realtime_ns,
                  .start_monotonic_ns = s.start_monotonic_ns});
  writer.trigger({.reason = s.reason, .label = s.label, .sequence = s.sequence});
  writer.clocks({.realtime_ns = s.realtime_ns, .monotonic_ns = s.monotonic_ns, .boottime_ns = s.boottime_ns});
  writer.sampling({.mode = s.mode,
                   .interval_bytes = s.interval_bytes,
                   .fixed_seed = s.fixed_seed,
                   .max_frames = s.max_frames,
                   .unwinder = s.unwinder});
}

void write_stacks(SnapshotWriter& writer, const Snapshot& s) {
  std::vector<std::uint64_t> ids;
  for (const Stack& stack : s.stacks) {
    ids.clear();
    for (std::uint32_t i = 0; i < stack.frame_count; ++i)
      ids.push_back(s.frames.at(stack.first_frame + i) + 1);
    writer.sample({.location_ids = ids,
                   .allocated_count = stack.allocated_count,
                   .allocated_bytes = stack.allocated_bytes,
                   .freed_count = stack.freed_count,
                   .freed_bytes = stack.freed_bytes,
                   .live_count = stack.live_count,
                   .live_bytes = stack.live_bytes,
                   .truncated = stack.truncated});
  }
}

void write_body(SnapshotWriter& writer, const Snapshot& s) {
  for (const Record& r : s.records) {
    writer.record({.sample_number = r.sample_number,
                   .address = r.address,
                   .size_bytes = r.size_bytes,
                   .birth_ns = r.birth_ns,
                   .stack = r.stack,
                   .thread = r.thread,
                   .kind = r.kind});
  }
  write_stacks(writer, s);
  std::uint64_t id = 0;
  for (const Module& m : s.modules) {
    writer.module(++id, {.start = m.start,
                         .end = m.end,
                         .file_offset = m.file_offset,
                         .path = m.path,
                         .build_id = parse_build_id(m.build_id)});
  }
  id = 0;
  for (const Location& l : s.locations) {
    writer.location(++id, l.module == kNoModule ? 0 : std::uint64_t{l.module} + 1, l.address);
  }
  for (const auto& [serial, thread] : s.threads) writer.thread(serial, thread.tid, thread.name);
  for (const auto& [name, value] : s.self) writer.counter(name, value);
}

}  // namespace

ByteSink MemorySink::sink() {
  return {this,
          [](void* context, const void* data, std::size_t size) {
            auto& to = static_cast<MemorySink*>(context)->bytes;
            const auto* from = static_cast<const std::byte*>(data);
            to.insert(to.end(), from, from + size);
            return 0;
          },
          [](void* context, std::uint64_t offset, const void* data, std::size_t size) {
            std::memcpy(&static_cast<MemorySink*>(context)->bytes.at(offset), data, size);
            return 0;
          }};
}

int write_snapshot(const Snapshot& snapshot, const ByteSink& sink) {
  const std::size_t size = SnapshotWriter::workspace_bytes();
  const std::unique_ptr<std::byte, decltype(&std::free)> workspace(
      static_cast<std::byte*>(std::aligned_alloc(64, size)), &std::free);
  SnapshotWriter writer({workspace.get(), size}, sink);
  writer.begin();
  write_header(writer, snapshot);
  write_body(writer, snapshot);
  return writer.finish();
}

std::vector<std::byte> write_snapshot(const Snapshot& snapshot) {
  MemorySink memory;
  if (const int error = write_snapshot(snapshot, memory.sink()); error != 0) {
    throw std::runtime_error(std::string("writing a snapshot: ") + std::strerror(error));
  }
  return std::move(memory.bytes);
}

Snapshot with_sorted_records(Snapshot snapshot) {
  std::ranges::sort(snapshot.records, {}, [](const Record& r) {
    return std::tuple(r.thread, r.sample_number, r.address, r.size_bytes, r.birth_ns, r.stack);
  });
  return snapshot;
}

SnapshotBuilder::SnapshotBuilder() {
  snapshot_.format_version = kFormatVersion;
  for (std::size_t i = 0; i < snapshot_.session.bytes.size(); ++i) {
    snapshot_.session.bytes[i] = static_cast<std::uint8_t>(0x9f + i);
  }
  snapshot_.pid = 4242;
  snapshot_.ppid = 1;
  snapshot_.boot_id = "8d6f1c6e-7f0e-4bb0-9f3e-0f6f0c1f7a11";
  snapshot_.exe = "/srv/payments";
  snapshot_.host = "host-1";
  snapshot_.start_realtime_ns = 1'790'000'000'000'000'000;
  snapshot_.start_monotonic_ns = 5'000'000'000;
  snapshot_.reason = TriggerReason::kSignal;
  snapshot_.sequence = 1;
  snapshot_.realtime_ns = snapshot_.start_realtime_ns + 60'000'000'000;
  snapshot_.monotonic_ns = snapshot_.start_monotonic_ns + 60'000'000'000;
  snapshot_.boottime_ns = snapshot_.monotonic_ns;
  snapshot_.mode = SamplingMode::kAll;
  snapshot_.interval_bytes = 1;
  snapshot_.max_frames = 64;
  snapshot_.unwinder = "cfi";
}

std::uint32_t SnapshotBuilder::add_module(Module module) {
  snapshot_.modules.push_back(std::move(module));
  return static_cast<std::uint32_t>(snapshot_.modules.size() - 1);
}

std::uint32_t SnapshotBuilder::add_location(std::uint64_t address, std::uint32_t module) {
  snapshot_.locations.push_back({LookupAddress{address}, module});
  return static_cast<std::uint32_t>(snapshot_.locations.size() - 1);
}

std::uint32_t SnapshotBuilder::add_stack(const std::vector<std::uint32_t>& locations) {
  Stack stack;
  stack.first_frame = static_cast<std::uint32_t>(snapshot_.frames.size());
  stack.frame_count = static_cast<std::uint32_t>(locations.size());
  snapshot_.frames.insert(snapshot_.frames.end(), locations.begin(), locations.end());
  snapshot_.stacks.push_back(stack);
  return static_cast<std::uint32_t>(snapshot_.stacks.size() - 1);
}

std::uint32_t SnapshotBuilder::add_record(const Record& record) {
  Stack& stack = snapshot_.stacks.at(record.stack);
  ++stack.allocated_count;
  stack.allocated_bytes += record.size_bytes;
  if (counts_as_live(record.kind)) {
    ++stack.live_count;
    stack.live_bytes += record.size_bytes;
  }
  snapshot_.records.push_back(record);
  return static_cast<std::uint32_t>(snapshot_.records.size() - 1);
}

void SnapshotBuilder::add_live(std::uint32_t stack, std::uint32_t count, std::uint64_t size_bytes,
                               std::int64_t birth_ns, AllocKind kind) {
  for (std::uint32_t i = 0; i < count; ++i) {
    add_record({.sample_number = next_sample_++,
                .address = next_address_,
                .size_bytes = size_bytes,
                .birth_ns = birth_ns == 0 ? snapshot_.start_monotonic_ns + 1'000'000'000 : birth_ns,
                .stack = stack,
                .thread = 0,
                .kind = kind});
    next_address_ += (size_bytes + 8 + 15) / 16 * 16;
  }
}

void SnapshotBuilder::add_thread(std::uint32_t serial, std::uint64_t tid, std::string name) {
  snapshot_.threads[serial] = {tid, std::move(name)};
}

void SnapshotBuilder::add_counter(std::string name, std::uint64_t value) {
  snapshot_.self[std::move(name)] = value;
}

void SnapshotBuilder::write(const std::string& path) const {
  const auto data = bytes();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  file.close();
  if (!file) throw std::runtime_error("writing " + path);
}

}  // namespace memtrace::test
