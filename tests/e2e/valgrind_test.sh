#!/usr/bin/env bash
# What would break: the shim would read what it never wrote or write beyond what it has (memcheck), or touch what
# another thread may be changing (helgrind, by a build whose locks and snapshot thread tell it what they do). A
# program with four threads, a plugin and a forked child, under both, with snapshots; memdiff still finds the truth.
# usage: valgrind_test.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v valgrind >/dev/null || {
  echo "valgrind is not installed: scripts/install-dependencies"
  exit 1
}

# Without the first, valgrind would put its own malloc in the place of our hooks, too, and they would never run.
options=(--soname-synonyms=somalloc=nouserintercepts --error-exitcode=9)

failures=0
fail() {
  echo "FAILED: $*" >&2
  cat "$dir"/log.* >&2
  failures=$((failures + 1))
}

try() { # tool shim sample
  local truth found snapshot snapshots status=0
  dir=$work/$1.$3
  mkdir "$dir"
  printf xx | MEMTRACE=force MEMTRACE_SAMPLE=$3 MEMTRACE_AT_EXIT=1 MEMTRACE_DIR=$dir LD_PRELOAD=$build/preload/$2 \
    valgrind --tool="$1" "${options[@]}" --log-file="$dir/log.%p" \
    "$build/tests/programs/everywhere" "$build/tests/programs/libeverywhere_plugin.so" >"$dir/out" 2>"$dir/err" || status=$?
  ((status == 3)) || fail "$1, $3: status $status: $(cat "$dir/err")"
  [[ $(cat "$dir"/log.* | grep -c 'ERROR SUMMARY: 0 errors') == 2 ]] || fail "$1, $3: errors"
  [[ $3 == all ]] || return 0
  truth=$(sed -nE 's/^site (\w+) ([0-9]+) ([0-9]+)$/\1 \2 \3/p' "$dir/out" | grep -v '^in_child' | sort)
  snapshots=("$dir"/*.snap)
  ((${#snapshots[@]} == 2)) || fail "$1, $3: ${#snapshots[@]} snapshots"
  for snapshot in "${snapshots[@]}"; do # the child's holds what its parent has, too
    found=$("$build/analyzer/memdiff" -g function -F json -n 0 --no-debuginfod "$snapshot" | python3 -c '
import json, sys
for site in json.load(sys.stdin)["sites"]:
    print(site["function"], site["size"]["new"], site["count"]["new"])' | grep -wFf <(cut -d' ' -f1 <<<"$truth") | sort)
    [[ $found == "$truth" ]] ||
      fail "$1, $3: memdiff differs (< found, > truth): $(diff <(echo "$found") <(echo "$truth"))"
  done
}

try memcheck libmemtrace.so all
try memcheck libmemtrace.so 64KiB
try helgrind libmemtrace-watched.so all
((failures == 0))
