// A progress bar on stderr for work that may take long: shown only on a terminal, and only after half a
// second.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace memtrace {

class Progress {
 public:
  enum class Show { kNever, kOnTerminal };

  Progress(std::string what, std::size_t total, Show show);
  ~Progress();  // wipes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step();

 private:
  void draw() const;

  std::string what_;
  std::size_t total_;
  std::size_t done_ = 0;
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace memtrace
