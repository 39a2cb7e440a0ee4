// Debug files from the servers in DEBUGINFOD_URLS, by way of libdebuginfod when it is installed.
//
// May wait for the network: never constructed into use unless the variable is set and non-empty.
// Thread-safety: one thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace memtrace {

class DebuginfodClient {
 public:
  // Null when the variable is unset or empty, or the library is missing.
  [[nodiscard]] static std::unique_ptr<DebuginfodClient> create();
  virtual ~DebuginfodClient() = default;

  // Path in the library's cache. After a server failed other than by "not found", asks no more: one
  // unreachable server must not cost its time-out for each module.
  [[nodiscard]] virtual std::optional<std::string> find_debug_file(const std::string& build_id) = 0;
  // Why no more is asked; empty while all is well.
  [[nodiscard]] virtual const std::string& failure() const = 0;
};

}  // namespace memtrace
