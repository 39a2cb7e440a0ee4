#include "analyzer/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace memtrace {
namespace {

constexpr std::chrono::milliseconds kPatience{500};
constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::size_t kBarWidth = 30;

}  // namespace

Progress::Progress(std::string what, std::size_t total, Show show)
    : what_(std::move(what)),
      total_(std::max<std::size_t>(total, 1)),
      enabled_(show == Show::kOnTerminal && isatty(STDERR_FILENO) != 0),
      next_(std::chrono::steady_clock::now() + kPatience) {}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::step() {
  ++done_;
  if (!enabled_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kRedraw;
  drawn_ = true;
  draw();
}

void Progress::draw() const {
  const std::size_t filled = std::min(done_, total_) * kBarWidth / total_;
  fmt::print(stderr, "\r\033[K{} [{:#<{}}{:.<{}}] {}/{}", what_, "", filled, "", kBarWidth - filled, done_,
             total_);
  std::fflush(stderr);
}

}  // namespace memtrace
