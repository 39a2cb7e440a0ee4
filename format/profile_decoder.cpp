// The part of a snapshot that pprof knows too: mappings, locations and samples, and our columns beside the
// samples.
#include <algorithm>
#include <array>

#include "format/fields.hpp"
#include "format/id_index.hpp"
#include "format/message_decoder.hpp"

namespace memtrace {
namespace {

using protozero::pbf_reader;

constexpr std::uint64_t kIdBytes = 16;  // of an IdIndex
// A stack of more frames would make a report of one row unreadably long, and cost gigabytes.
constexpr std::size_t kMostFrames = 1 << 17;

constexpr std::array<std::string_view, 4> kSampleTypes = {"alloc_objects", "alloc_space", "inuse_objects",
                                                          "inuse_space"};

void check_sample_types(const MessageParts& parts) {
  if (parts.sample_types.size() < kSampleTypes.size()) {
    parts.fail({}, "is damaged: it lacks a snapshot's sample types");
  }
  for (std::size_t i = 0; i < kSampleTypes.size(); ++i) {
    const data_view part = parts.sample_types[i];
    std::uint64_t type = 0;
    for (pbf_reader field(part); field.next();) {
      if (field.tag_and_type() == number_field(fields::value_type::kType)) {
        type = field.get_uint64();
      } else {
        field.skip();
      }
    }
    if (parts.peek_string(part, type) != kSampleTypes[i]) {
      parts.fail(part, "is damaged: its sample types are not those of a snapshot");
    }
  }
}

void check_ids(const MessageParts& parts, IdIndex& ids, const std::vector<data_view>& from,
               const char* what) {
  if (const auto wrong = ids.sort_and_find_wrong()) {
    parts.fail(from[*wrong], std::string("is damaged: a ") + what + " has an id that is 0 or already taken");
  }
}

// They become parts of paths where debug files are searched.
bool is_build_id(std::string_view text) {
  return text.size() <= 128 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

IdIndex decode_modules(MessageParts& parts, Snapshot& to) {
  namespace f = fields::mapping;
  IdIndex ids;
  for (const data_view part : parts.mappings) {
    Module module;
    std::uint64_t id = 0;
    for (pbf_reader field(part); field.next();) {
      switch (field.tag_and_type()) {
        case number_field(f::kId):
          id = field.get_uint64();
          break;
        case number_field(f::kMemoryStart):
          module.start = field.get_uint64();
          break;
        case number_field(f::kMemoryLimit):
          module.end = field.get_uint64();
          break;
        case number_field(f::kFileOffset):
          module.file_offset = field.get_uint64();
          break;
        case number_field(f::kFilename):
          module.path = parts.string(part, field.get_uint64());
          break;
        case number_field(f::kBuildId):
          module.build_id = parts.string(part, field.get_uint64());
          break;
        default:
          field.skip();
      }
    }
    if (module.end < module.start) parts.fail(part, "is damaged: a module ends before it starts");
    if (!is_build_id(module.build_id)) parts.fail(part, "is damaged: a build-id is not hexadecimal");
    if (to.modules.size() == kNoModule) parts.fail(part, "is damaged: it has too many modules");
    parts.spend(part, sizeof module + kIdBytes);
    ids.add(id);
    to.modules.push_back(std::move(module));
  }
  check_ids(parts, ids, parts.mappings, "module");
  return ids;
}

IdIndex decode_locations(MessageParts& parts, const IdIndex& modules, Snapshot& to) {
  namespace f = fields::location;
  IdIndex ids;
  to.locations.reserve(parts.locations.size());
  for (const data_view part : parts.locations) {
    Location location;
    std::uint64_t id = 0;
    std::uint64_t module = 0;
    for (pbf_reader field(part); field.next();) {
      switch (field.tag_and_type()) {
        case number_field(f::kId):
          id = field.get_uint64();
          break;
        case number_field(f::kMappingId):
          module = field.get_uint64();
          break;
        case number_field(f::kAddress):
          location.address = LookupAddress{field.get_uint64()};
          break;
        default:
          field.skip();
      }
    }
    if (module != 0) {
      const auto index = modules.find(module);
      if (!index)
        parts.fail(
            part, "is damaged: a location lies in module " + std::to_string(module) + ", which is not there");
      location.module = *index;
    }
    if (to.locations.size() == UINT32_MAX) parts.fail(part, "is damaged: it has too many locations");
    parts.spend(part, sizeof location + kIdBytes);
    ids.add(id);
    to.locations.push_back(location);
  }
  check_ids(parts, ids, parts.locations, "location");
  return ids;
}

void decode_stacks(MessageParts& parts, const IdIndex& locations, Snapshot& to) {
  namespace f = fields::sample;
  std::vector<std::uint64_t> frames;
  std::vector<std::uint64_t> values;
  to.stacks.reserve(parts.samples.size());
  for (const data_view part : parts.samples) {
    frames.clear();
    values.clear();
    parts.require_room_for_numbers(part);
    for (pbf_reader field(part); field.next();) {
      switch (field.tag_and_type()) {
        case number_field(f::kLocationId):
        case bytes_field(f::kLocationId):
          append_numbers(field, frames);
          break;
        case number_field(f::kValue):
        case bytes_field(f::kValue):
          append_numbers(field, values);
          break;
        default:
          field.skip();
      }
    }
    if (frames.size() > kMostFrames) {
      parts.fail(part, "is damaged: a stack has " + std::to_string(frames.size()) + " frames");
    }
    if (values.size() != parts.sample_types.size()) {
      parts.fail(part, "is damaged: a stack has " + std::to_string(values.size()) +
                           " values, not one per sample type");
    }
    if (std::ranges::any_of(values, [](std::uint64_t v) { return v > INT64_MAX; })) {
      parts.fail(part, "is damaged: a stack has a negative value");
    }
    if (to.stacks.size() == UINT32_MAX || to.frames.size() + frames.size() > UINT32_MAX) {
      parts.fail(part, "is damaged: it has too many stacks or frames");
    }
    Stack stack;
    stack.first_frame = static_cast<std::uint32_t>(to.frames.size());
    stack.frame_count = static_cast<std::uint32_t>(frames.size());
    stack.allocated_count = values[0];
    stack.allocated_bytes = values[1];
    stack.live_count = values[2];
    stack.live_bytes = values[3];
    parts.spend(part, sizeof stack + frames.size() * sizeof to.frames[0]);
    to.stacks.push_back(stack);
    for (const std::uint64_t id : frames) {
      const auto index = locations.find(id);
      if (!index)
        parts.fail(
            part, "is damaged: a stack goes through location " + std::to_string(id) + ", which is not there");
      to.frames.push_back(*index);
    }
  }
}

void decode_stack_columns(MessageParts& parts, Snapshot& to) {
  namespace f = fields::stack_batch;
  std::vector<std::uint64_t> freed_count;
  std::vector<std::uint64_t> freed_bytes;
  std::vector<std::uint64_t> truncated;
  for (const data_view part : parts.stacks) {
    parts.spend(part, sizeof(std::uint64_t) * part.size());
    for (pbf_reader field(part); field.next();) {
      switch (field.tag_and_type()) {
        case number_field(f::kFreedObjects):
        case bytes_field(f::kFreedObjects):
          append_numbers(field, freed_count);
          break;
        case number_field(f::kFreedBytes):
        case bytes_field(f::kFreedBytes):
          append_numbers(field, freed_bytes);
          break;
        case number_field(f::kTruncated):
        case bytes_field(f::kTruncated):
          append_numbers(field, truncated);
          break;
        default:
          field.skip();
      }
    }
  }
  const std::size_t rows = to.stacks.size();
  if (freed_count.size() != rows || freed_bytes.size() != rows || truncated.size() != rows) {
    parts.fail({}, "is damaged: its columns about stacks do not have one row per stack");
  }
  for (std::size_t i = 0; i < rows; ++i) {
    to.stacks[i].freed_count = freed_count[i];
    to.stacks[i].freed_bytes = freed_bytes[i];
    to.stacks[i].truncated = truncated[i] != 0;
  }
}

}  // namespace

void decode_profile(MessageParts& parts, Snapshot& to) {
  check_sample_types(parts);
  const IdIndex modules = decode_modules(parts, to);
  const IdIndex locations = decode_locations(parts, modules, to);
  decode_stacks(parts, locations, to);
  decode_stack_columns(parts, to);
}

}  // namespace memtrace
