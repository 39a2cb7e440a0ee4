// Writes one snapshot: everything live at one moment, into a new file that is whole or not there at all.
//
// Called by: the snapshot thread (tests call it directly). One call at a time. No heap, no libc state: raw
// system calls. Application threads wait for one shard's copy at most. Failure: one line at level error with
// path and reason, a counter, nothing left behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "format/types.hpp"
#include "preload/modules.hpp"
#include "preload/sys/diag.hpp"
#include "preload/tracker.hpp"

namespace memtrace {

inline constexpr std::size_t kMaxLabel = 64;
using Label = FixedText<kMaxLabel + 1>;
// What labels are made of, whoever gives them: they become part of file names.
[[nodiscard]] constexpr bool label_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}
using Path = FixedText<4096>;

struct SnapshotRequest {
  TriggerReason reason = TriggerReason::kUnknown;
  Label label;  // empty: none, or what `memtrace snap` left in the directory
};

class Snapshotter {
 public:
  // Before start(), for who wants to know the names first. Costs no memory.
  void learn_names();
  // At start, on the first thread. Copies what it keeps. False: no memory; snapshots will be refused.
  [[nodiscard]] bool start(const Options& options);

  // 0 or an errno value; path() is the file's then.
  [[nodiscard]] int take(const SnapshotRequest& request);
  [[nodiscard]] const Path& path() const { return path_; }

  // The base name that the program was started by: of the executable, or of a link to it. At most 64 bytes.
  [[nodiscard]] std::string_view program_name() const { return name_.view(); }
  // The base name of the executable.
  [[nodiscard]] std::string_view executable_name() const;

 private:
  void renew_session();
  void adopt_label(Label& label);
  [[nodiscard]] int open_directory(Line& problem);
  [[nodiscard]] int write_all(int fd, const SnapshotRequest& request);
  [[nodiscard]] int publish(int directory, std::string_view temporary, const Label& label);

  Path directory_;
  Path exe_;
  Path program_;  // as exe_, or the link to it that the program was started by
  FixedText<65> name_;
  FixedText<65> host_;
  FixedText<40> boot_id_;
  FixedText<kMaxTagsBytes + 1> tags_;
  Path path_;
  std::byte* workspace_ = nullptr;
  Modules modules_;

  SessionId session_{};
  std::uint64_t pid_ = 0;
  std::uint64_t parent_ = 0;
  std::uint32_t session_generation_ = 0;
  bool session_drawn_ = false;
  std::uint64_t sequence_ = 0;
};

extern constinit Snapshotter g_snapshotter;

}  // namespace memtrace
