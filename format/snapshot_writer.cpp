#include "format/snapshot_writer.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include "format/container.hpp"
#include "format/fields.hpp"
#include "format/message_stream.hpp"
#include "format/record_batch.hpp"
#include "format/stack_batch.hpp"
#include "format/wire.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMaxTags = 64;
// The longest message but the batches is a sample: every frame and four values, ten bytes each.
static_assert(kMessageBytes > (SnapshotWriter::kMaxFrames + 4 + 4) * wire::kMaxVarint);
static_assert(kMessageBytes > (kMaxTags + 16) * wire::kMaxVarint);

// The strings that begin() writes, in this order.
enum Fixed : std::uint32_t {
  kAllocObjects = 1,
  kCount,
  kAllocSpace,
  kBytes,
  kInuseObjects,
  kInuseSpace,
  kSpace,
  kProvenance,
  kFixedEnd
};
constexpr std::array<std::string_view, kFixedEnd> kFixedStrings = {
    "",      "alloc_objects",    "count", "alloc_space", "bytes", "inuse_objects", "inuse_space",
    "space", "memtrace format 1"};
static_assert(kFormatVersion == 1, "the provenance names the version");

// Fields that may be written once only: a reader merges a second one, pprof's refuses or forgets.
enum Once : unsigned { kProcessOnce = 1, kTriggerOnce = 2, kClocksOnce = 4, kSamplingOnce = 8 };

enum class Phase { kNew, kOpen, kDone };

// pprof's values are signed.
constexpr std::uint64_t pprof_value(std::uint64_t v) { return v < INT64_MAX ? v : INT64_MAX; }

}  // namespace

struct SnapshotWriter::State : MessageStream {
  Phase phase = Phase::kNew;
  unsigned once = 0;
  std::int64_t start_monotonic_ns = 0;
  std::int64_t monotonic_ns = 0;
  container::Totals totals;
  RecordBatch records;
  StackBatch stacks;

  [[nodiscard]] bool open() const { return error() == 0 && phase == Phase::kOpen; }

  [[nodiscard]] bool first(Once field) {
    if (!open()) return false;
    if ((once & field) != 0) {
      fail(EINVAL);
      return false;
    }
    once |= field;
    return true;
  }

  void push_value_type(std::uint32_t field, Fixed type, Fixed unit) {
    message.number(fields::value_type::kType, std::uint64_t{type});
    message.number(fields::value_type::kUnit, std::uint64_t{unit});
    push_message(field);
  }
};

namespace {

constexpr std::size_t round_up(std::size_t size) { return (size + 63) / 64 * 64; }

void store_frame_head(std::byte* frame, std::uint32_t magic, std::size_t frame_bytes,
                      std::uint64_t message_bytes) {
  container::store(frame + container::kMagicAt, magic);
  container::store(frame + container::kPayloadSizeAt,
                   static_cast<std::uint32_t>(frame_bytes - container::kFrameHeadBytes));
  std::memcpy(frame + container::kSignatureAt, container::kSignature.data(), container::kSignature.size());
  container::store(frame + container::kVersionAt, kFormatVersion);
  container::store(frame + container::kMessageBytesAt, message_bytes);
}

}  // namespace

std::size_t SnapshotWriter::workspace_bytes() {
  return round_up(sizeof(State)) + ZstdStream::workspace_bytes();
}

SnapshotWriter::SnapshotWriter(std::span<std::byte> workspace, ByteSink sink) : state_(nullptr) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(workspace.data()) % 64 == 0;
  if (!aligned || workspace.size() < workspace_bytes()) return;
  state_ = new (workspace.data()) State;
  state_->start(workspace.subspan(round_up(sizeof(State))), sink);
}

int SnapshotWriter::error() const { return state_ == nullptr ? EINVAL : state_->error(); }

void SnapshotWriter::begin() {
  if (state_ == nullptr || state_->error() != 0 || state_->phase != Phase::kNew) return;
  State& s = *state_;
  s.phase = Phase::kOpen;
  std::array<std::byte, container::kHeadBytes> head{};
  store_frame_head(head.data(), container::kHeadMagic, head.size(), 0);
  s.append(head.data(), head.size());
  for (const std::string_view text : kFixedStrings) s.push_string(text);
  s.push_value_type(fields::kSampleType, kAllocObjects, kCount);
  s.push_value_type(fields::kSampleType, kAllocSpace, kBytes);
  s.push_value_type(fields::kSampleType, kInuseObjects, kCount);
  s.push_value_type(fields::kSampleType, kInuseSpace, kBytes);
  s.message.number(fields::kDefaultSampleType, std::uint64_t{kInuseSpace});
  const std::uint64_t comment = kProvenance;
  s.message.packed(fields::kComment, {&comment, 1});
  s.message.number(fields::kFormatVersion, std::uint64_t{kFormatVersion});
  s.push_fields();
}

StringIndex SnapshotWriter::string(std::string_view text) {
  if (state_ == nullptr || !state_->open()) return StringIndex::kEmpty;
  return static_cast<StringIndex>(state_->string_index(text));
}

void SnapshotWriter::process(const ProcessInfo& info) {
  if (state_ == nullptr || !state_->first(kProcessOnce)) return;
  namespace f = fields::process;
  State& s = *state_;
  // Strings go out as they are met, so all of them come before the message that is being put together.
  const std::uint64_t boot_id = s.string_index(info.boot_id);
  const std::uint64_t exe = s.string_index(info.exe);
  const std::uint64_t host = s.string_index(info.host);
  std::array<std::uint64_t, kMaxTags> tags;
  std::size_t tag_count = 0;
  for (std::string_view rest = info.tags; !rest.empty() && tag_count < kMaxTags;) {
    std::size_t size = 0;
    while (size < rest.size() && rest[size] != ',') ++size;
    if (size != 0) tags[tag_count++] = s.string_index({rest.data(), size});
    rest.remove_prefix(size < rest.size() ? size + 1 : size);
  }
  s.message.bytes(f::kSessionId, info.session.bytes.data(), info.session.bytes.size());
  s.message.number(f::kPid, info.pid);
  s.message.number(f::kPpid, info.ppid);
  s.message.number(f::kBootId, boot_id);
  s.message.number(f::kStartRealtimeNanos, info.start_realtime_ns);
  s.message.number(f::kExe, exe);
  s.message.number(f::kHost, host);
  s.message.packed(f::kTag, std::span(tags).first(tag_count));
  s.message.number(f::kRssBytes, info.rss_bytes);
  s.message.number(f::kStartMonotonicNanos, info.start_monotonic_ns);
  s.push_message(fields::kProcess);
  s.start_monotonic_ns = info.start_monotonic_ns;
}

void SnapshotWriter::trigger(const TriggerInfo& info) {
  if (state_ == nullptr || !state_->first(kTriggerOnce)) return;
  namespace f = fields::trigger;
  State& s = *state_;
  const std::uint64_t label = s.string_index(info.label);
  s.message.number(f::kReason, static_cast<std::uint64_t>(info.reason));
  s.message.number(f::kLabel, label);
  s.message.number(f::kSequence, info.sequence);
  s.push_message(fields::kTrigger);
}

void SnapshotWriter::clocks(const ClockInfo& info) {
  if (state_ == nullptr || !state_->first(kClocksOnce)) return;
  namespace f = fields::clocks;
  State& s = *state_;
  s.message.number(f::kRealtimeNanos, info.realtime_ns);
  s.message.number(f::kMonotonicNanos, info.monotonic_ns);
  s.message.number(f::kBoottimeNanos, info.boottime_ns);
  s.push_message(fields::kClocks);
  s.message.number(fields::kTimeNanos, info.realtime_ns);
  s.push_fields();
  s.monotonic_ns = info.monotonic_ns;
}

void SnapshotWriter::sampling(const SamplingInfo& info) {
  if (state_ == nullptr || !state_->first(kSamplingOnce)) return;
  namespace f = fields::sampling;
  State& s = *state_;
  const std::uint64_t unwinder = s.string_index(info.unwinder);
  s.message.number(f::kMode, static_cast<std::uint64_t>(info.mode));
  s.message.number(f::kIntervalBytes, info.interval_bytes);
  s.message.number(f::kFixedSeed, info.fixed_seed);
  s.message.number(f::kMaxFrames, std::uint64_t{info.max_frames});
  s.message.number(f::kUnwinder, unwinder);
  s.push_message(fields::kSampling);
  s.push_value_type(fields::kPeriodType, kSpace, kBytes);
  s.message.number(fields::kPeriod, pprof_value(info.interval_bytes));
  s.push_fields();
}

void SnapshotWriter::record(const RecordInfo& info) {
  if (state_ == nullptr || !state_->open()) return;
  ++state_->totals.records;
  if (state_->records.add(info) == RecordBatch::Room::kNone) state_->records.push(*state_);
}

void SnapshotWriter::sample(const StackInfo& info) {
  if (state_ == nullptr || !state_->open()) return;
  State& s = *state_;
  const bool cut = info.location_ids.size() > kMaxFrames;
  const auto ids = cut ? info.location_ids.first(kMaxFrames) : info.location_ids;
  const std::array<std::uint64_t, 4> values = {pprof_value(info.allocated_count),
                                               pprof_value(info.allocated_bytes),
                                               pprof_value(info.live_count), pprof_value(info.live_bytes)};
  s.message.packed(fields::sample::kLocationId, ids);
  s.message.packed(fields::sample::kValue, values);
  s.push_message(fields::kSample);
  ++s.totals.samples;
  if (s.stacks.add(info.freed_count, info.freed_bytes, info.truncated || cut) == StackBatch::Room::kNone) {
    s.stacks.push(s);
  }
}

void SnapshotWriter::module(std::uint64_t id, const ModuleInfo& info) {
  if (state_ == nullptr || !state_->open()) return;
  namespace f = fields::mapping;
  State& s = *state_;
  const std::size_t id_bytes =
      info.build_id.size < info.build_id.bytes.size() ? info.build_id.size : info.build_id.bytes.size();
  std::array<char, 2 * std::tuple_size_v<decltype(info.build_id.bytes)>> hex;
  for (std::size_t i = 0; i < id_bytes; ++i) {
    hex[2 * i] = "0123456789abcdef"[info.build_id.bytes[i] >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[info.build_id.bytes[i] & 15];
  }
  const std::uint64_t path = s.string_index(info.path);
  const std::uint64_t build_id = s.string_index({hex.data(), 2 * id_bytes});
  s.message.number(f::kId, id);
  s.message.number(f::kMemoryStart, info.start);
  s.message.number(f::kMemoryLimit, info.end);
  s.message.number(f::kFileOffset, info.file_offset);
  s.message.number(f::kFilename, path);
  s.message.number(f::kBuildId, build_id);
  s.push_message(fields::kMapping);
  ++s.totals.modules;
}

void SnapshotWriter::location(std::uint64_t id, std::uint64_t module_id, LookupAddress address) {
  if (state_ == nullptr || !state_->open()) return;
  State& s = *state_;
  s.message.number(fields::location::kId, id);
  s.message.number(fields::location::kMappingId, module_id);
  s.message.number(fields::location::kAddress, value(address));
  s.push_message(fields::kLocation);
  ++s.totals.locations;
}

void SnapshotWriter::thread(std::uint32_t serial, std::uint64_t tid, std::string_view name) {
  if (state_ == nullptr || !state_->open()) return;
  State& s = *state_;
  const std::uint64_t name_index = s.string_index(name);
  s.message.number(fields::thread::kSerial, std::uint64_t{serial});
  s.message.number(fields::thread::kTid, tid);
  s.message.number(fields::thread::kName, name_index);
  s.push_message(fields::kThread);
}

void SnapshotWriter::counter(std::string_view name, std::uint64_t value) {
  if (state_ == nullptr || !state_->open()) return;
  State& s = *state_;
  const std::uint64_t name_index = s.string_index(name);
  s.message.number(fields::counter::kName, name_index);
  s.message.number(fields::counter::kValue, value);
  s.push_message(fields::kSelf);
}

int SnapshotWriter::finish() {
  if (state_ == nullptr) return EINVAL;
  State& s = *state_;
  if (s.phase == Phase::kNew) s.fail(EINVAL);
  if (!s.open()) return s.error();
  s.records.push(s);
  s.stacks.push(s);
  if ((s.once & kProcessOnce) != 0 && (s.once & kClocksOnce) != 0) {
    // Modulo 2^64: whatever the clocks say, there is no overflow.
    s.message.number(fields::kDurationNanos, static_cast<std::uint64_t>(s.monotonic_ns) -
                                                 static_cast<std::uint64_t>(s.start_monotonic_ns));
    s.push_fields();
  }
  s.phase = Phase::kDone;
  s.totals.message_bytes = s.end_message();

  std::array<std::byte, container::kTailBytes> tail{};
  store_frame_head(tail.data(), container::kTailMagic, tail.size(), s.totals.message_bytes);
  container::store(tail.data() + container::kRecordsAt, s.totals.records);
  container::store(tail.data() + container::kSamplesAt, s.totals.samples);
  container::store(tail.data() + container::kLocationsAt, s.totals.locations);
  container::store(tail.data() + container::kModulesAt, s.totals.modules);
  s.append(tail.data(), tail.size());
  // Last, so that a head with its total means a whole file.
  s.overwrite(container::kMessageBytesAt, &tail[container::kMessageBytesAt], sizeof(s.totals.message_bytes));
  return s.error();
}

}  // namespace memtrace
