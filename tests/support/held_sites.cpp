// From snapshots, victims' words and memdiff's JSON to the same form: bytes and count by function.
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "analyzer/symbols/elf_symbolizer.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {

namespace fs = std::filesystem;

std::ostream& operator<<(std::ostream& out, const Held& held) {
  return out << held.bytes << " bytes in " << held.count;
}

namespace {

// "(anonymous namespace)::by_malloc(unsigned long)" -> "by_malloc"
std::string bare_name(std::string function) {
  constexpr std::string_view kAnonymous = "(anonymous namespace)::";
  for (std::size_t at; (at = function.find(kAnonymous)) != std::string::npos;) {
    function.erase(at, kAnonymous.size());
  }
  return function.substr(0, function.find('('));
}

// What C++ puts between a call site and malloc; and main, where victims allocate for themselves.
bool is_library(const std::string& function) {
  return function.find("std::") != std::string::npos || function.find("__gnu_cxx::") != std::string::npos ||
         function.find("operator new") != std::string::npos;
}
bool is_victims_own(const std::string& function) { return function.empty() || function == "main"; }

Symbolizer& symbolizer() {
  static const std::unique_ptr<Symbolizer> instance = [] {
    SymbolOptions options;
    options.debuginfod = false;
    return make_elf_symbolizer(options);
  }();
  return *instance;
}

std::vector<Place> places_of(const Snapshot& snapshot, const Location& location) {
  if (location.module == kNoModule) return {Place{}};
  const Module& module = snapshot.modules[location.module];
  const std::string name = fs::path(module.path).filename();
  const std::uint64_t offset = value(location.address) - module.start + module.file_offset;
  std::vector<Place> places;
  for (const SourceFrame& frame : symbolizer().resolve(module, offset)) {
    places.push_back({bare_name(frame.function), fs::path(frame.file).filename(), frame.line, name});
  }
  if (places.empty()) places.push_back({"", "", 0, name});
  return places;
}

}  // namespace

std::vector<Place> stack_of(const Snapshot& snapshot, const Record& record) {
  const Stack& stack = snapshot.stacks.at(record.stack);
  std::vector<Place> places;
  for (std::uint32_t i = 0; i < stack.frame_count; ++i) {
    const auto some = places_of(snapshot, snapshot.locations[snapshot.frames[stack.first_frame + i]]);
    places.insert(places.end(), some.begin(), some.end());
  }
  return places;
}

Sites sites_of(const Snapshot& snapshot) {
  const std::string program = fs::path(snapshot.exe).filename();
  std::map<std::uint32_t, std::string> site_of_stack;
  Sites sites;
  for (const Record& record : snapshot.records) {
    if (!counts_as_live(record.kind)) continue;
    auto [known, fresh] = site_of_stack.try_emplace(record.stack);
    if (fresh) {
      for (const Place& place : stack_of(snapshot, record)) {
        if (place.module != program || is_library(place.function)) continue;
        known->second = place.function;
        break;
      }
    }
    if (is_victims_own(known->second)) continue;
    Held& held = sites[known->second];
    held.bytes += static_cast<std::int64_t>(record.size_bytes);
    ++held.count;
  }
  return sites;
}

std::vector<Report> reports_in(const std::string& output) {
  std::vector<Report> reports;
  Sites truth;
  std::istringstream stream(output);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word == "site") {
      std::string name;
      Held held;
      if (!(words >> name >> held.bytes >> held.count)) throw std::runtime_error("garbled: " + line);
      if (held != Held{}) truth[name] = held;
    } else if (word == "snapshot") {
      std::string path;
      words >> path;
      if (path == "failed:") throw std::runtime_error(line);
      reports.push_back({std::exchange(truth, {}), path});
    }
  }
  return reports;
}

Sites minus(const Sites& after, const Sites& before) {
  Sites sites = after;
  for (const auto& [name, held] : before) {
    Held& left = sites[name];
    left.bytes -= held.bytes;
    left.count -= held.count;
  }
  std::erase_if(sites, [](const auto& site) { return site.second == Held{}; });
  return sites;
}

std::string difference(const Sites& found, const Sites& truth) {
  std::ostringstream text;
  for (const auto& [name, held] : minus(found, truth)) {
    const auto at = truth.find(name);
    text << name << ": found " << (found.count(name) ? found.at(name) : Held{}) << ", true "
         << (at == truth.end() ? Held{} : at->second) << "\n";
  }
  return text.str();
}

Sites growth_by_memdiff(const fs::path& before, const fs::path& after, const std::string& module) {
  const Ran ran = run_memdiff({"-F", "json", "-n", "0", "--no-skip-wrappers", "--no-debuginfod",
                               "--no-progress", before.string(), after.string()});
  if (ran.exit_code != 0) throw std::runtime_error("memdiff failed");
  const auto report = nlohmann::json::parse(ran.out);
  if (report.at("sampling").at("estimated"))
    throw std::runtime_error("memdiff takes exact data for estimates");
  Sites sites;
  for (const auto& site : report.at("sites")) {
    for (const auto& frame : site.at("stack")) {
      if (!frame.at("module").is_string() || frame.at("module") != module) continue;
      if (!frame.at("function").is_string()) break;
      const std::string function = bare_name(frame.at("function"));
      if (is_library(function)) continue;
      if (is_victims_own(function)) break;
      Held& held = sites[function];
      held.bytes += site.at("size").at("diff").get<std::int64_t>();
      held.count += site.at("count").at("diff").get<std::int64_t>();
      break;
    }
  }
  std::erase_if(sites, [](const auto& site) { return site.second == Held{}; });
  return sites;
}

}  // namespace memtrace::test
