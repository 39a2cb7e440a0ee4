// Runs a fuzz target over the files of the directories named, where there is no libFuzzer.
//
//   run_corpus DIRECTORY...                    each file once, as it is
//   run_corpus --mutations=N DIRECTORY...      and N mutations of each by the target's own mutator, the same
//   each time
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" [[gnu::weak]] std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                                             std::size_t max_size, unsigned int seed);

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMaxBytes = 1 << 16;

std::minstd_rand g_random(1);

// Each mutation is one of the last one's result, and starts over now and then.
void run_mutations(const Bytes& original, std::size_t count) {
  Bytes bytes;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 64 == 0) bytes = original;
    const std::size_t size = bytes.size();
    bytes.resize(std::max(size, kMaxBytes));
    bytes.resize(
        LLVMFuzzerCustomMutator(bytes.data(), size, bytes.size(), static_cast<unsigned>(g_random())));
    const Bytes exact(bytes);  // as large as it is, so that reading past its end is seen
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  }
}

}  // namespace

// libFuzzer's, for the target's mutator: here one byte is changed.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t) {
  if (size != 0) data[g_random() % size] = static_cast<std::uint8_t>(g_random() >> 8);
  return size;
}

int main(int argc, char** argv) {
  constexpr std::string_view kMutations = "--mutations=";
  std::size_t mutations = 0;
  std::size_t count = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument.substr(0, kMutations.size()) == kMutations) {
      mutations = std::strtoull(argv[i] + kMutations.size(), nullptr, 10);
      continue;
    }
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
      std::ifstream file(path, std::ios::binary);
      const Bytes bytes{std::istreambuf_iterator<char>(file), {}};
      std::printf("%s\n", path.c_str());
      std::fflush(stdout);  // the last one is the one that failed
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      if (LLVMFuzzerCustomMutator != nullptr) run_mutations(bytes, mutations);
      ++count;
    }
  }
  std::printf("%zu files, %zu mutations of each\n", count, mutations);
  return count == 0 ? 1 : 0;  // an empty corpus tests nothing
}
