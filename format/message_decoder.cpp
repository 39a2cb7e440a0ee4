#include "format/message_decoder.hpp"

#include <new>

#include "format/decode_error.hpp"
#include "format/fields.hpp"

namespace memtrace {
namespace {

// Links, key and the allocator's own.
constexpr std::uint64_t kMapNodeBytes = 64;

void decode_thread(MessageParts& parts, data_view part, Snapshot& to) {
  std::uint32_t serial = 0;
  Thread thread;
  for (protozero::pbf_reader field(part); field.next();) {
    switch (field.tag_and_type()) {
      case number_field(fields::thread::kSerial):
        serial = parts.uint32(part, field.get_uint64(), "thread serial");
        break;
      case number_field(fields::thread::kTid):
        thread.tid = field.get_uint64();
        break;
      case number_field(fields::thread::kName):
        thread.name = parts.string(part, field.get_uint64());
        break;
      default:
        field.skip();
    }
  }
  parts.spend(part, kMapNodeBytes + sizeof thread);
  to.threads[serial] = std::move(thread);
}

void decode_counter(MessageParts& parts, data_view part, Snapshot& to) {
  std::string name;
  std::uint64_t value = 0;
  for (protozero::pbf_reader field(part); field.next();) {
    switch (field.tag_and_type()) {
      case number_field(fields::counter::kName):
        name = parts.string(part, field.get_uint64());
        break;
      case number_field(fields::counter::kValue):
        value = field.get_uint64();
        break;
      default:
        field.skip();
    }
  }
  parts.spend(part, kMapNodeBytes + sizeof name);
  to.self[std::move(name)] = value;
}

DecodedMessage decode(std::span<const std::byte> message, std::uint64_t memory_budget) {
  MessageParts parts(message, memory_budget);
  DecodedMessage decoded;
  decode_header(parts, decoded.snapshot);
  decode_profile(parts, decoded.snapshot);
  decoded.totals.records = decode_records(parts, decoded.snapshot);
  decode_threads_and_counters(parts, decoded.snapshot);
  decoded.totals.message_bytes = message.size();
  decoded.totals.samples = parts.samples.size();
  decoded.totals.locations = parts.locations.size();
  decoded.totals.modules = parts.mappings.size();
  return decoded;
}

}  // namespace

void decode_threads_and_counters(MessageParts& parts, Snapshot& to) {
  for (const data_view part : parts.threads) decode_thread(parts, part, to);
  for (const data_view part : parts.self) decode_counter(parts, part, to);
}

Result<DecodedMessage, FormatError> decode_message(std::span<const std::byte> message,
                                                   std::uint64_t memory_budget) {
  try {
    return decode(message, memory_budget);
  } catch (const DecodeError& failure) {
    return failure.error;
  } catch (const protozero::exception& failure) {
    return FormatError{0, std::string("is damaged: its message is not valid protobuf: ") + failure.what()};
  } catch (const std::bad_alloc&) {
    return FormatError{0, "does not fit into the memory of this machine"};
  }
}

}  // namespace memtrace
