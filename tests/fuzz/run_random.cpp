// Runs a fuzz target over random inputs, the same ones each time: run_random CASES [SEED]. Where a case
// faults, its number is the last one of `at`, which a debugger shows.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::uint64_t memtrace_fuzz_frames();

volatile std::uint64_t g_case;

int main(int argc, char** argv) {
  const std::uint64_t cases = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::vector<std::uint8_t> bytes;
  for (std::uint64_t at = 0; at < cases; ++at) {
    g_case = at;
    std::mt19937_64 random(seed << 40 ^ at);
    bytes.resize(16 + random() % 500);
    for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      for (std::size_t k = 0; k < sizeof word && i + k < bytes.size(); ++k) {
        bytes[i + k] = static_cast<std::uint8_t>(word >> (8 * k));
      }
    }
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%llu cases, %llu frames\n", static_cast<unsigned long long>(cases),
              static_cast<unsigned long long>(memtrace_fuzz_frames()));
  return 0;
}
