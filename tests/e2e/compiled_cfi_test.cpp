// What would break: a host with tiny stacks or a strict sandbox dies of being traced; or the default way to
// capture stacks keeps descriptors, makes system calls or needs more stack than was promised (decisions 3, 9
// and 10).
#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

std::size_t said(const std::string& text, const std::string& what) {
  const std::size_t at = text.find(what + " ");
  REQUIRE(at != std::string::npos);
  return std::stoul(text.substr(at + what.size() + 1));
}

TEST_CASE("stacks of 2560 bytes suffice, and what captures need of them is bounded") {
  Preloaded bare("small_stacks", {"2560"});
  const Ending untraced = bare.without_shim().run();
  REQUIRE(untraced.exit_code == 0);
  for (const char* sample : {"all", "1GiB"}) {
    CAPTURE(sample);
    Preloaded victim("small_stacks", {"2560"});
    const Ending ending = victim.set("MEMTRACE_SAMPLE", sample).set("MEMTRACE_UNWIND", "cfi").run();
    CAPTURE(ending.out, ending.err);
    REQUIRE(ending.exit_code == 0);
    // Of what the allocator itself needs, the shim's share comes on top at worst.
    const std::size_t budget = std::string(sample) == "all" ? 1536 : 256;
    CHECK(said(ending.out, "later") <= said(untraced.out, "later") + budget);
    if (std::string(sample) == "all")
      CHECK(said(ending.out, "first") <= said(untraced.out, "first") + budget);
  }
}

TEST_CASE("a sandbox that allows the allocator's system calls and no other is not broken") {
  for (const char* sample : {"all", "4096"}) {
    CAPTURE(sample);
    Preloaded victim("sandboxed");
    const Ending ending = victim.set("MEMTRACE_SAMPLE", sample).set("MEMTRACE_UNWIND", "cfi").run();
    CHECK(ending.exit_code == 0);
    CHECK(ending.out == "alive\n");
  }
}

}  // namespace
}  // namespace memtrace::test
