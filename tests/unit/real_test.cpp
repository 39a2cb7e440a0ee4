// Would break: programs that die before main: dlsym allocates while we look for malloc.
//
// Each case runs in a child of its own, for which nothing has been resolved yet.
#include "preload/real.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "preload/thread_state.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using test::expect;

namespace {

// As if dlsym called back: this thread is looking for the real functions.
class Resolving {
 public:
  Resolving() { t_state.resolving = 1; }
  ~Resolving() { t_state.resolving = 0; }
  Resolving(const Resolving&) = delete;
  Resolving& operator=(const Resolving&) = delete;
};

bool aligned(const void* block) { return reinterpret_cast<std::uintptr_t>(block) % 16 == 0; }

}  // namespace

TEST_CASE("while resolving, blocks come from the bootstrap buffer, and may come back for ever") {
  CHECK(test::in_child([] {
          void* block = nullptr;
          void* zeroed = nullptr;
          void* grown = nullptr;
          {
            const Resolving resolving;
            block = memtrace_hook_malloc(33);
            zeroed = memtrace_hook_calloc(3, 5);
            expect(block && zeroed && real::is_bootstrap(block) && real::is_bootstrap(zeroed));
            expect(aligned(block) && aligned(zeroed));
            expect(memtrace_hook_malloc_usable_size(block) == 33);
            expect(memtrace_hook_malloc_usable_size(zeroed) == 15);
            for (int i = 0; i < 15; ++i) expect(static_cast<char*>(zeroed)[i] == 0);
            std::memcpy(block, "0123456789", 11);
            grown = memtrace_hook_realloc(block, 200);
            expect(real::is_bootstrap(grown) && grown != block);
            expect(std::strcmp(static_cast<char*>(grown), "0123456789") == 0);
            expect(static_cast<char*>(memtrace_hook_realloc(grown, 4))[3] == '3');
            expect(aligned(memtrace_hook_memalign(16, 1)));
            expect(memtrace_hook_memalign(64, 1) == nullptr);
            memtrace_hook_free(zeroed);
          }
          // The real functions are there now; these are still ours.
          memtrace_hook_free(block);
          memtrace_hook_cfree(zeroed);
          void* moved = memtrace_hook_realloc(grown, 1000);
          expect(moved && !real::is_bootstrap(moved));
          expect(std::strcmp(static_cast<char*>(moved), "0123456789") == 0);
          expect(memtrace_hook_malloc_usable_size(moved) >= 1000);
          memtrace_hook_free(moved);
        }).fine());
}

TEST_CASE("a bootstrap buffer that was closed says how much of it is out, and gives nothing more") {
  CHECK(test::in_child([] {
          t_state.resolving = 1;
          void* block = g_real.malloc(100);
          const std::size_t used = real::close_bootstrap();
          expect(static_cast<char*>(block) + 100 <= real::g_bootstrap + used);
          expect(g_real.malloc(1) == nullptr);
          expect(real::close_bootstrap() >= used);
        }).fine());
}

TEST_CASE("a bootstrap buffer that is full says so, and what it cannot hold costs it nothing") {
  CHECK(test::in_child([] {
          const Resolving resolving;
          expect(memtrace_hook_malloc(real::kBootstrapBytes) == nullptr);
          for (const std::size_t size : {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2}) {
            volatile std::size_t hidden = size;
            expect(memtrace_hook_malloc(hidden) == nullptr);
            expect(memtrace_hook_calloc(hidden, 16) == nullptr);
          }
          // What was refused took no room: all of it can still be had.
          std::size_t blocks = 0;
          while (void* block = memtrace_hook_malloc(48)) {
            std::memset(block, 0xff, 48);
            ++blocks;
          }
          expect(blocks == real::kBootstrapBytes / 64);
          expect(memtrace_hook_malloc(0) == nullptr);
        }).fine());
}

TEST_CASE("blocks of threads that resolve at once do not overlap") {
  CHECK(test::in_child([] {
          std::vector<std::vector<unsigned char*>> blocks(8);
          test::run_threads(8, [&](unsigned thread) {
            const Resolving resolving;
            for (std::size_t i = 0; i < 60; ++i) {
              auto* block = static_cast<unsigned char*>(memtrace_hook_malloc(i));
              expect(block != nullptr);
              std::memset(block, static_cast<int>(thread + 1), i);
              blocks[thread].push_back(block);
            }
          });
          for (unsigned thread = 0; thread < 8; ++thread) {
            for (std::size_t i = 0; i < 60; ++i) {
              for (std::size_t at = 0; at < i; ++at) expect(blocks[thread][i][at] == thread + 1);
              expect(real::bootstrap_size(blocks[thread][i]) == i);
            }
          }
        }).fine());
}

TEST_CASE("the first call of any function finds the real one; eight threads may come first") {
  CHECK(test::in_child([] {
          test::run_threads(8, [](unsigned) {
            errno = E2BIG;
            void* block = memtrace_hook_malloc(100);
            expect(block && !real::is_bootstrap(block));
            expect(errno == E2BIG);
            memtrace_hook_free(block);
          });
        }).fine());
  CHECK(test::in_child([] { memtrace_hook_free(nullptr); }).fine());
  CHECK(test::in_child([] {
          void* pages =
              memtrace_hook_mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          expect(pages != MAP_FAILED);
          pages = memtrace_hook_mremap(pages, 4096, 8192, MREMAP_MAYMOVE);
          expect(pages != MAP_FAILED);
          expect(memtrace_hook_munmap(pages, 8192) == 0);
        }).fine());
  CHECK(test::in_child([] {
          struct sigaction old {};
          expect(memtrace_hook_sigaction(SIGUSR1, nullptr, &old) == 0);
          expect(memtrace_hook_signal(SIGUSR1, SIG_IGN) == SIG_DFL);
        }).fine());
}

TEST_CASE("a sealed table is read-only, and works") {
  CHECK(test::in_child([] {
          real::resolve();
          real::seal();
          real::resolve();
          memtrace_hook_free(memtrace_hook_malloc(10));
          const test::ChildEnd end = test::in_child([] {
            g_real.signal(SIGSEGV, SIG_DFL);
            g_real.malloc = nullptr;
          });
          expect(!end.fine());
        }).fine());
}
