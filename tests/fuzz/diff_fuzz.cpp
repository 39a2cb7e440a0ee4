// Would break: memdiff crashing, hanging or driving a terminal on snapshots that are well-formed and lie.
//
// One or two messages go the whole way from the decoder to the text of every output format, with the options
// that the input chooses (input_parts.hpp). Most mutations change a decoded snapshot and encode
// it again.
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "analyzer/pipeline.hpp"
#include "format/message_decoder.hpp"
#include "format/utf8.hpp"
#include "tests/fuzz/input_parts.hpp"
#include "tests/fuzz/invented_symbols.hpp"
#include "tests/fuzz/mutator.hpp"
#include "tests/fuzz/require.hpp"
#include "tests/fuzz/snapshot_mutation.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

namespace {

using namespace memtrace;
using fuzz::require;

Options options_of(const std::array<std::uint8_t, 8>& settings) {
  Options options;
  options.group_by = static_cast<GroupBy>(settings[0] % 6);
  options.cumulative =
      settings[0] >= 128 && options.group_by != GroupBy::kTraceback && options.group_by != GroupBy::kThread;
  options.sort = static_cast<SortKey>(settings[1] % 5);
  options.growth_only = settings[1] >= 128;
  options.skip_wrappers = settings[2] % 2 == 0;
  options.verbose = settings[2] % 4 >= 2;
  options.quiet = settings[2] % 32 == 31;
  options.top = settings[3] % 16;
  options.frames = settings[4] % 16;
  options.min_bytes = std::uint64_t{settings[5]} << settings[5] % 56;
  if (settings[6] % 8 == 1) options.focus = {"a"};
  if (settings[6] % 8 == 2) options.ignore = {"^/srv|operator"};
  return options;
}

// What a terminal would not obey.
bool is_plain(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_sequence(text);
    if (size == 0) return false;
    const auto code = static_cast<unsigned char>(text[0]);
    if ((code < 0x20 && code != '\n') || code == 0x7f) return false;
    if (size == 2 && code == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0) return false;
    text.remove_prefix(size);
  }
  return true;
}

void report_all(std::vector<NamedSnapshot>& snapshots, const std::array<std::uint8_t, 8>& settings) {
  Options options = options_of(settings);
  for (const OutputFormat format : {OutputFormat::kText, OutputFormat::kTracemalloc, OutputFormat::kJson}) {
    options.format = format;
    fuzz::InventedSymbols symbols;
    const Surroundings surroundings{.color = false, .width = settings[7] % 160U};
    const auto report = make_report(snapshots, options, symbols, surroundings);
    require(report.ok());
    const std::string& text = report.value().text;
    if (format == OutputFormat::kJson) {
      require(nlohmann::json::accept(text));
    } else {
      require(is_plain(text));
    }
  }
}

// The snapshots of the input's two messages; a part that is none is left out.
std::vector<NamedSnapshot> snapshots_of(const fuzz::InputParts& parts) {
  std::vector<NamedSnapshot> snapshots;
  const auto add = [&](const std::vector<std::byte>& message, const char* name) {
    auto decoded = decode_message(message);
    if (decoded.ok()) snapshots.push_back({name, std::move(decoded.value().snapshot)});
  };
  add(parts.first, "old");
  add(parts.second, "new");
  return snapshots;
}

// Changes one of the snapshots and encodes it again. False: there is none, or the writer does not take it.
bool change(fuzz::InputParts& parts, fuzz::Random& random) {
  std::vector<NamedSnapshot> snapshots = snapshots_of(parts);
  if (snapshots.empty()) return false;
  if (random() % 4 == 0)
    parts.settings[random() % parts.settings.size()] = static_cast<std::uint8_t>(random() >> 8);
  const std::size_t side = random() % snapshots.size();
  const Snapshot other = snapshots[snapshots.size() - 1 - side].snapshot;  // may be the same
  auto& [name, snapshot] = snapshots[side];
  fuzz::mutate(snapshot, other, random);
  try {
    auto message = test::message_of(test::write_snapshot(snapshot));
    const bool pair_up = snapshots.size() == 1 && random() % 2 == 0;
    if (pair_up) parts.first = name == "old" ? parts.first : parts.second;
    (name == "old" && !pair_up ? parts.first : parts.second) = std::move(message);
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parts = fuzz::InputParts::parse({data, size});
  std::vector<NamedSnapshot> snapshots = snapshots_of(parts);
  if (!snapshots.empty()) report_all(snapshots, parts.settings);
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
  return fuzz::mutate_parts(data, size, max_size, seed, change);
}
