// Everything about a snapshot that occurs once: version, process, trigger, clocks, sampling.
#include "format/fields.hpp"
#include "format/message_decoder.hpp"

namespace memtrace {
namespace {

using protozero::pbf_reader;

void decode_process(MessageParts& parts, data_view part, Snapshot& to) {
  namespace f = fields::process;
  std::vector<std::uint64_t> tags;
  for (pbf_reader field(part); field.next();) {
    switch (field.tag_and_type()) {
      case bytes_field(f::kSessionId): {
        const data_view id = field.get_view();
        if (id.size() != to.session.bytes.size())
          parts.fail(part, "is damaged: its session id is not 16 bytes");
        for (std::size_t i = 0; i < id.size(); ++i)
          to.session.bytes[i] = static_cast<std::uint8_t>(id.data()[i]);
        break;
      }
      case number_field(f::kPid):
        to.pid = field.get_uint64();
        break;
      case number_field(f::kPpid):
        to.ppid = field.get_uint64();
        break;
      case number_field(f::kBootId):
        to.boot_id = parts.string(part, field.get_uint64());
        break;
      case number_field(f::kStartRealtimeNanos):
        to.start_realtime_ns = field.get_int64();
        break;
      case number_field(f::kExe):
        to.exe = parts.string(part, field.get_uint64());
        break;
      case number_field(f::kHost):
        to.host = parts.string(part, field.get_uint64());
        break;
      case number_field(f::kTag):
      case bytes_field(f::kTag):
        append_numbers(field, tags);
        break;
      case number_field(f::kRssBytes):
        to.rss_bytes = field.get_uint64();
        break;
      case number_field(f::kStartMonotonicNanos):
        to.start_monotonic_ns = field.get_int64();
        break;
      default:
        field.skip();
    }
  }
  for (const std::uint64_t tag : tags) to.tags.push_back(parts.string(part, tag));
}

void decode_trigger(MessageParts& parts, data_view part, Snapshot& to) {
  namespace f = fields::trigger;
  for (pbf_reader field(part); field.next();) {
    switch (field.tag_and_type()) {
      case number_field(f::kReason): {
        // A newer shim may have other reasons; none changes what the numbers mean.
        const std::uint64_t reason = field.get_uint64();
        to.reason = reason <= static_cast<std::uint64_t>(TriggerReason::kApi)
                        ? static_cast<TriggerReason>(reason)
                        : TriggerReason::kUnknown;
        break;
      }
      case number_field(f::kLabel):
        to.label = parts.string(part, field.get_uint64());
        break;
      case number_field(f::kSequence):
        to.sequence = field.get_uint64();
        break;
      default:
        field.skip();
    }
  }
}

void decode_clocks(data_view part, Snapshot& to) {
  namespace f = fields::clocks;
  for (pbf_reader field(part); field.next();) {
    switch (field.tag_and_type()) {
      case number_field(f::kRealtimeNanos):
        to.realtime_ns = field.get_int64();
        break;
      case number_field(f::kMonotonicNanos):
        to.monotonic_ns = field.get_int64();
        break;
      case number_field(f::kBoottimeNanos):
        to.boottime_ns = field.get_int64();
        break;
      default:
        field.skip();
    }
  }
}

void decode_sampling(MessageParts& parts, data_view part, Snapshot& to) {
  namespace f = fields::sampling;
  for (pbf_reader field(part); field.next();) {
    switch (field.tag_and_type()) {
      case number_field(f::kMode): {
        const std::uint64_t mode = field.get_uint64();
        if (mode > static_cast<std::uint64_t>(SamplingMode::kAll)) {
          parts.fail(part,
                     "was sampled in a way that this version does not know: its numbers would be wrong; "
                     "use a newer memdiff");
        }
        to.mode = static_cast<SamplingMode>(mode);
        break;
      }
      case number_field(f::kIntervalBytes):
        to.interval_bytes = field.get_uint64();
        break;
      case number_field(f::kFixedSeed):
        to.fixed_seed = field.get_bool();
        break;
      case number_field(f::kMaxFrames):
        to.max_frames = parts.uint32(part, field.get_uint64(), "frame limit");
        break;
      case number_field(f::kUnwinder):
        to.unwinder = parts.string(part, field.get_uint64());
        break;
      default:
        field.skip();
    }
  }
}

void decode_version(const MessageParts& parts, Snapshot& to) {
  to.format_version = parts.uint32({}, parts.format_version, "format version");
  if (to.format_version == 0) {
    parts.fail({}, "has no format version: it is a pprof profile, which opens with `go tool pprof`");
  }
  if (to.format_version > kFormatVersion) {
    to.warnings.push_back("was written by a newer memtrace (format " + std::to_string(to.format_version) +
                          ", this one knows " + std::to_string(kFormatVersion) +
                          "): what is new in it is left out");
  }
}

}  // namespace

void decode_header(MessageParts& parts, Snapshot& to) {
  decode_version(parts, to);
  if (parts.process.empty()) parts.fail({}, "is damaged: it does not say which process it shows");
  if (parts.clocks.empty()) parts.fail({}, "is damaged: it does not say when it was taken");
  if (parts.sampling.empty()) parts.fail({}, "is damaged: it does not say how it was sampled");
  to.interval_bytes = 0;
  for (const data_view part : parts.process) decode_process(parts, part, to);
  for (const data_view part : parts.trigger) decode_trigger(parts, part, to);
  for (const data_view part : parts.clocks) decode_clocks(part, to);
  for (const data_view part : parts.sampling) decode_sampling(parts, part, to);
  if (to.interval_bytes == 0) parts.fail(parts.sampling.front(), "is damaged: its sampling interval is 0");
}

}  // namespace memtrace
