#include "preload/fork_guard.hpp"

#include "preload/sys/page_arena.hpp"
#include "preload/sys/pages.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

bool ForkGuard::start() {
  void* page = sys::map_pages(kPageBytes);
  if (!page) return false;
  if (sys::advise(page, kPageBytes, MADV_WIPEONFORK) != 0) {
    sys::unmap_pages(page, kPageBytes);
    return false;
  }
  page_ = static_cast<std::atomic<std::uint32_t>*>(page);
  page_->store(kAlive, std::memory_order_relaxed);
  return true;
}

ForkGuard::State ForkGuard::check_slowly() {
  std::uint32_t seen = page_->load(std::memory_order_acquire);
  if (seen == kWiped && page_->compare_exchange_strong(seen, kAdopting, std::memory_order_acq_rel)) {
    generation_.fetch_add(1, std::memory_order_relaxed);
    return State::kNewChild;
  }
  return seen == kAlive ? State::kKnown : State::kBeingAdopted;
}

void ForkGuard::adopted() { page_->store(kAlive, std::memory_order_release); }

}  // namespace memtrace
