// Would break: memdiff crashing, hanging or eating all memory on a damaged binary or debug file.
//
// The input's first part is the binary, its second what .gnu_debuglink or .gnu_debugaltlink of the first may
// name "d". Both lie alone in a tree that stands for the machine's, and addresses all over the binary are
// resolved.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "analyzer/symbols/elf_file.hpp"
#include "analyzer/symbols/elf_symbolizer.hpp"
#include "tests/fuzz/elf_mutation.hpp"
#include "tests/fuzz/input_parts.hpp"
#include "tests/fuzz/mutator.hpp"
#include "tests/fuzz/require.hpp"

namespace {

using namespace memtrace;
using fuzz::require;

constexpr std::uint64_t kSpread = 24;     // addresses all over the file
constexpr std::uint64_t kNeighbours = 8;  // and in a row where the input says
constexpr std::size_t kMany = 300;        // questions that are worth threads
constexpr std::size_t kMostFrames = 1000;

// The machine's file tree, as the symbolizer sees it.
class Tree {
 public:
  Tree() {
    std::string name =
        (std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path()) /
        "symbols_fuzz.XXXXXX";
    require(mkdtemp(name.data()) != nullptr);
    root_ = name;
  }
  ~Tree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  [[nodiscard]] const std::string& root() const { return root_; }

  void put(const std::string& path, const std::vector<std::byte>& bytes) const {
    const std::string name = root_ + path;
    if (bytes.empty()) {
      unlink(name.c_str());
      return;
    }
    const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    close(fd);
  }

 private:
  std::string root_;
};

const Tree& tree() {
  static const Tree the_tree;
  return the_tree;
}

std::string build_id_of(const std::string& path) {
  const auto file = ElfFile::open(path);
  return file.ok() ? file.value()->build_id() : std::string();
}

std::vector<std::uint64_t> offsets_of(const fuzz::InputParts& parts) {
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < kSpread; ++i) offsets.push_back(parts.first.size() * i / kSpread);
  const std::uint64_t from = parts.settings[1] | std::uint64_t{parts.settings[2]} << 8;
  for (std::uint64_t i = 0; i < kNeighbours; ++i) offsets.push_back(from + i * (1 + parts.settings[3] % 16));
  return offsets;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parts = fuzz::InputParts::parse({data, size});
  tree().put("/m", parts.first);
  tree().put("/d", parts.second);
  Module module{.start = 0x10000, .end = 0x10000 + (1 << 20), .file_offset = 0, .path = "/m"};
  if (parts.settings[0] % 2 == 0) module.build_id = build_id_of(tree().root() + "/m");
  const auto symbolizer =
      make_elf_symbolizer({.sysroot = tree().root(), .debug_paths = {"/"}, .debuginfod = false});
  const auto offsets = offsets_of(parts);
  std::vector<Symbolizer::Question> questions;
  for (const std::uint64_t offset : offsets) questions.push_back({&module, offset});
  if (parts.settings[0] % 32 == 31) {
    for (std::uint64_t i = 0; questions.size() < kMany; ++i) questions.push_back({&module, i * 16});
  }
  if (parts.settings[0] % 4 >= 2) symbolizer->prepare(questions, [] {});
  for (const std::uint64_t offset : offsets)
    require(symbolizer->resolve(module, offset).size() <= kMostFrames);
  for (const std::string& note : symbolizer->notes()) require(!note.empty());
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
  return fuzz::mutate_parts(data, size, max_size, seed, [](fuzz::InputParts& parts, fuzz::Random& random) {
    if (random() % 8 == 0) parts.settings[random() % 4] = static_cast<std::uint8_t>(random() >> 8);
    auto& part = !parts.second.empty() && random() % 2 == 0 ? parts.second : parts.first;
    if (!fuzz::mutate_elf(part, random)) return false;
    if (random() % 8 != 0) fuzz::correct_debug_link(parts.first, parts.second);
    return true;
  });
}
