// For the tests of the symbolizer: the victims built here, what they print, and where their source says what.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "analyzer/symbols/elf_file.hpp"
#include "analyzer/symbols/elf_symbolizer.hpp"
#include "format/snapshot.hpp"
#include "tests/support/catch.hpp"

namespace memtrace::victims {

inline const std::string kSources = MEMTRACE_SOURCE_DIR "/tests/programs/symbols/";

inline std::string path(const std::string& name) {
  return MEMTRACE_BUILD_DIR "/tests/programs/symbols/" + name;
}
inline bool exists(const std::string& name) { return std::filesystem::exists(path(name)); }

class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path().string() + "/memtrace-symbols-XXXXXX";
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  while (const std::size_t size = fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, size);
  INFO(command);
  REQUIRE(pclose(pipe) == 0);
  return text;
}

inline void run(const std::string& command) { (void)output_of(command); }

// Creates the directories on the way.
inline void copy(const std::string& from, const std::string& to) {
  std::filesystem::create_directories(std::filesystem::path(to).parent_path());
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
}

// Marker -> file offset of the call, from running the victim.
inline std::map<std::string, std::uint64_t> probes(const std::string& name) {
  const bool library = name.ends_with(".so");
  std::istringstream lines(output_of(library ? path("runner") + " " + path(name) : path(name)));
  std::map<std::string, std::uint64_t> offsets;
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t tab = line.find('\t');
    REQUIRE(tab != std::string::npos);
    offsets[line.substr(0, tab)] = std::stoull(line.substr(tab + 1), nullptr, 16);
  }
  REQUIRE(offsets.size() == 8);
  return offsets;
}

// The line of `file` that ends in "// @marker".
inline std::uint32_t line_of(const std::string& file, const std::string& marker) {
  std::ifstream source(kSources + file);
  std::string line;
  for (std::uint32_t number = 1; std::getline(source, line); ++number) {
    if (line.ends_with("// @" + marker)) return number;
  }
  FAIL("no marker " << marker << " in " << file);
  return 0;
}

inline std::unique_ptr<ElfFile> open_elf(const std::string& file) {
  auto opened = ElfFile::open(file);
  if (!opened) FAIL(file << ": " << opened.error());
  return opened ? std::move(opened).value() : nullptr;
}

inline std::string build_id_of(const std::string& file) { return open_elf(file)->build_id(); }

inline Module module_at(const std::string& file, const std::string& build_id) {
  Module module;
  module.start = 0x10000000;
  module.end = 0x20000000;
  module.path = file;
  module.build_id = build_id;
  return module;
}

inline Module module_at(const std::string& file) { return module_at(file, build_id_of(file)); }

inline std::string joined_notes(const Symbolizer& symbolizer) {
  std::string text;
  for (const std::string& note : symbolizer.notes()) text += note + "\n";
  return text;
}

// Offline whatever the environment says.
inline std::unique_ptr<Symbolizer> offline_symbolizer(std::vector<std::string> debug_paths = {},
                                                      std::string sysroot = {}) {
  return make_elf_symbolizer({std::move(sysroot), std::move(debug_paths), false});
}

}  // namespace memtrace::victims
