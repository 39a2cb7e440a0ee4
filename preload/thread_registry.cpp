#include "preload/thread_registry.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

void ThreadRegistry::set_tid(std::uint32_t serial, std::uint32_t tid) {
  const std::uint32_t index = serial / kPerPage;
  if (index >= kPages) return;
  Page* page = pages_[index].load(std::memory_order_acquire);
  if (!page) {
    auto* fresh = static_cast<Page*>(arena_->take(kPerPage * sizeof(Page)));
    if (!fresh) return;
    if (pages_[index].compare_exchange_strong(page, fresh, std::memory_order_acq_rel)) {
      page = fresh;
    } else {
      arena_->give_back(fresh, kPerPage * sizeof(Page));
    }
  }
  page[serial % kPerPage].store(tid, std::memory_order_relaxed);
}

std::uint32_t ThreadRegistry::tid_of(std::uint32_t serial) const {
  const std::uint32_t index = serial / kPerPage;
  if (index >= kPages) return 0;
  const Page* page = pages_[index].load(std::memory_order_acquire);
  return page ? page[serial % kPerPage].load(std::memory_order_relaxed) : 0;
}

}  // namespace memtrace
