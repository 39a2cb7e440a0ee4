// Threads of a test that start together.
#pragma once

#include <latch>
#include <thread>
#include <vector>

namespace memtrace::test {

// Runs body(0) .. body(count - 1), each on a thread of its own; none begins before all exist.
template <class F>
void run_threads(unsigned count, F body) {
  std::latch all(count);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      all.arrive_and_wait();
      body(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace memtrace::test
