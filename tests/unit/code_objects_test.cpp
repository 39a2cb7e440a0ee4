// Would break: stacks stepped by the rules of a library that is gone, or a host that crashes because we read
// the tables of one that is being closed.
#include "preload/unwind/code_objects.hpp"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <memory>
#include <vector>

#include "preload/sys/find_object.hpp"
#include "preload/sys/page_arena.hpp"
#include "preload/unwind/unwinder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/with_caller.hpp"

using namespace memtrace;
using test::expect;
using Found = CodeObjects::Found;

namespace {

using Call = void (*)(void (*callback)(void*), void* argument);

struct Plugin {
  void* handle;
  Call call;
  std::uintptr_t base;
  explicit Plugin(int words)
      : handle(dlopen(
            (std::string(MEMTRACE_BUILD_DIR "/tests/programs/libplugin_") + std::to_string(words) + ".so")
                .c_str(),
            RTLD_NOW | RTLD_LOCAL)) {
    expect(handle != nullptr);
    call = reinterpret_cast<Call>(dlsym(handle, "plugin_call"));
    expect(call != nullptr);
    base = static_cast<link_map*>(handle)->l_addr;
  }
  [[nodiscard]] std::uintptr_t code() const { return reinterpret_cast<std::uintptr_t>(call) + 4; }
};

template <class F>
bool alone(F body) {
  return test::in_child(body).fine();
}

struct Lookup {
  CfiTables tables;
  bool replaced = false;
  Found found;
  Lookup(CodeObjects& objects, std::uintptr_t address, Trust trust,
         std::span<const ReturnAddress> certain = {})
      : found(objects.find(address, trust, certain, tables, replaced)) {}
};

std::unique_ptr<CodeObjects> started() {
  auto objects = std::make_unique<CodeObjects>();
  objects->start();
  return objects;
}

[[gnu::noipa]] void some_function() { asm volatile(""); }

}  // namespace

TEST_CASE("objects that were there at the start are read whatever led to the address") {
  CHECK(alone([] {
    const auto objects = started();
    for (const auto address :
         {reinterpret_cast<std::uintptr_t>(&some_function), reinterpret_cast<std::uintptr_t>(&dlopen)}) {
      for (const Trust trust : {Trust::kFrame, Trust::kGuess}) {
        const Lookup lookup(*objects, address, trust);
        expect(lookup.found == Found::kRules);
        expect(!lookup.replaced);
        expect(compile_step(lookup.tables, address).kind() == StepKind::kRsp);
      }
    }
    int local = 0;
    expect(Lookup(*objects, reinterpret_cast<std::uintptr_t>(&local), Trust::kFrame).found ==
           Found::kNothing);
    expect(Lookup(*objects, 0, Trust::kFrame).found == Found::kNothing);
    expect(Lookup(*objects, UINTPTR_MAX, Trust::kFrame).found == Found::kNothing);
  }));
}

TEST_CASE(
    "one that was loaded later is read for frames only, or where a frame of the stack keeps it loaded") {
  CHECK(alone([] {
    const auto objects = started();
    if (!sys::can_find_objects()) return;
    const Plugin plugin(3);
    expect(Lookup(*objects, plugin.code(), Trust::kFrame).found == Found::kRules);
    expect(Lookup(*objects, plugin.code(), Trust::kGuess).found == Found::kNoRules);
    const ReturnAddress inside[] = {
        static_cast<ReturnAddress>(reinterpret_cast<std::uintptr_t>(&some_function) + 1),
        static_cast<ReturnAddress>(plugin.code() + 3)};
    expect(Lookup(*objects, plugin.code(), Trust::kGuess, inside).found == Found::kRules);
    expect(Lookup(*objects, plugin.code(), Trust::kGuess, std::span(inside, 1)).found == Found::kNoRules);
    // Its memory is not touched for a guess: here that would be a fault.
    expect(mprotect(reinterpret_cast<void*>(plugin.base), kPageBytes, PROT_NONE) == 0);
    expect(Lookup(*objects, plugin.code(), Trust::kGuess).found == Found::kNoRules);
    expect(Lookup(*objects, plugin.code(), Trust::kFrame).found == Found::kNoRules);
    expect(mprotect(reinterpret_cast<void*>(plugin.base), kPageBytes, PROT_READ) == 0);
    dlclose(plugin.handle);
    expect(Lookup(*objects, plugin.code(), Trust::kFrame).found == Found::kNothing);
  }));
}

TEST_CASE("another object at the same place is noticed, the same one again is not") {
  CHECK(alone([] {
    const auto objects = started();
    if (!sys::can_find_objects()) return;
    const Plugin first(3);
    expect(!Lookup(*objects, first.code(), Trust::kFrame).replaced);
    expect(!Lookup(*objects, first.code(), Trust::kFrame).replaced);
    dlclose(first.handle);
    const Plugin second(13);
    expect(second.base == first.base);  // the kernel fills the highest hole
    expect(Lookup(*objects, second.code(), Trust::kFrame).replaced);
    expect(!Lookup(*objects, second.code(), Trust::kFrame).replaced);
  }));
}

namespace {

struct Captures {
  CaptureFunction oracle;
  std::vector<ReturnAddress> ours;
  std::vector<ReturnAddress> theirs;
};

// Both at one place, or they would differ in where they were called from.
void capture_both(const Caller* caller, void* argument) {
  auto& captures = *static_cast<Captures*>(argument);
  captures.ours.resize(64);
  captures.ours.resize(capture_by_cfi(*caller, captures.ours.data(), 64).frames);
  captures.theirs.resize(64);
  captures.theirs.resize(captures.oracle(*caller, captures.theirs.data(), 64).frames);
}

[[gnu::noipa]] void capture_in_callback(void* captures) {
  test::memtrace_test_with_caller(capture_both, captures);
  asm volatile("" ::: "memory");  // not a tail call
}

[[gnu::noipa]] Captures stacks_through(const Plugin& plugin, CaptureFunction oracle) {
  Captures captures{oracle, {}, {}};
  plugin.call(capture_in_callback, &captures);
  return captures;
}

}  // namespace

TEST_CASE("a stack through a plugin that took another one's place is its own after a refresh") {
  CHECK(alone([] {
    PageArena arena;
    arena.start(64 << 20);
    expect(start_cfi(arena));
    const CaptureFunction oracle = open_libunwind();
    if (!oracle || !sys::can_find_objects()) return;
    const Plugin first(3);
    const Captures before = stacks_through(first, oracle);
    expect(before.ours.size() > 4);
    expect(before.ours == before.theirs);
    dlclose(first.handle);
    const Plugin second(13);
    expect(second.base == first.base);
    // The one address that both share has a rule, the first one's: only a refresh tells. The walk may go
    // wrong, and does here, but reads nothing that it must not. libunwind has no refresh, and is no oracle
    // any more.
    expect(stacks_through(second, oracle).ours.size() < before.ours.size());
    refresh_unwinder();
    const Captures after = stacks_through(second, oracle);
    expect(after.ours.size() == before.ours.size());
    for (std::size_t i = 0; i < after.ours.size(); ++i) {
      expect((after.ours[i] == before.ours[i]) == (i != 3));  // 3: where each was called from
    }
  }));
}
