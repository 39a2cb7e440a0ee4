#!/usr/bin/env bash
# What would break: two runs of one build, at other addresses, would share no call site; or memdiff would cancel blocks
# that have nothing to do with each other.
# usage: two_processes_test.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >victim.c <<'END'
#include <stdlib.h>
void* kept[64];
static __attribute__((noinline)) void keep(int i) { kept[i] = malloc(1000); }
int main(int argc, char** argv) {
  (void)argv;
  for (int i = 0; i < 10 * argc; ++i) keep(i);
  return 0;
}
END
"${CC:-cc}" -g -O1 -pie -fPIE -o victim victim.c

run() { # label arguments...
  local label=$1
  shift
  mkdir "$label"
  MEMTRACE_DIR=$work/$label MEMTRACE_SAMPLE=all MEMTRACE_AT_EXIT=1 \
    LD_PRELOAD=$build/preload/libmemtrace.so ./victim "$@"
}
run one
run two x x

out=$("$build/analyzer/memdiff" one/*.snap two/*.snap)
fail() {
  printf 'FAILED: %s\n%s\n' "$1" "$out" >&2
  exit 1
}
grep -q 'nothing cancels' <<<"$out" || fail "does not say that nothing cancels"
grep -qE '^#[0-9]+  .*victim\.c:3  keep' <<<"$out" || fail "no row for victim.c:3"
[[ $(grep -cE '^#[0-9]+  .*victim\.c:3' <<<"$out") == 1 ]] || fail "the call site was not matched across the runs"
grep -q '+19.5 KiB  +20 blocks .*samples: 30 new, 10 old' <<<"$out" || fail "growth is not that of the two runs"
echo "call sites of two processes match, and nothing cancels"
