#!/usr/bin/env bash
# What would break: memtrace run would change a program's status, or trace nothing without a word; memtrace snap would
# kill a process, or not find the snapshot of one that lives in another namespace, directory or account.
# usage: memtrace_command_test.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
memtrace=$build/analyzer/memtrace
memdiff=$build/analyzer/memdiff
server=$build/tests/programs/session_server
work=$(mktemp -d)
children=()
cleanup() {
  kill -KILL "${children[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"

failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
expect() { # status pattern command...: both outputs go to $work/output
  local wanted=$1 pattern=$2 status=0
  shift 2
  "$@" >"$work/output" 2>&1 || status=$?
  [[ $status == "$wanted" ]] || fail "$*: status $status, not $wanted: $(cat "$work/output")"
  [[ -z $pattern ]] || grep -qE "$pattern" "$work/output" || fail "$*: no \"$pattern\" in: $(cat "$work/output")"
}
start() { # name command...: starts session_server by this command and waits until it serves; its pid is $pid
  local name=$1 tries
  shift
  "$@" >"$work/$name.port" 2>"$work/$name.log" &
  pid=$!
  children+=("$pid")
  for ((tries = 0; tries < 400; ++tries)); do
    if grep -qs port "$work/$name.port"; then return 0; fi
    sleep 0.025
  done
  fail "$name did not start: $(cat "$work/$name.log")"
}
alive() { kill -0 "$1" 2>/dev/null || fail "process $1 died"; }

# run: the program's own status, and a snapshot at exit.
expect 7 '' "$memtrace" run -- bash -c 'exit 7'
expect 127 'no-such-program' "$memtrace" run -- no-such-program
touch not-executable
expect 126 'not-executable' "$memtrace" run -- ./not-executable
expect 2 'usage' "$memtrace" run
expect 2 '^memtrace: -- must stand before the program: memtrace run \[options\] -- ls' "$memtrace" run ls -l
expect 2 '^memtrace: which command\? run or snap' "$memtrace"
expect 2 '^memtrace: strat: no such command' "$memtrace" strat
expect 2 '^memtrace: no such option: --bogus;' "$memtrace" run --bogus -- true
expect 2 '^memtrace: --sample needs a value;' "$memtrace" run --sample
expect 2 "^memtrace: --dir $work/no/where: $work/no does not exist" "$memtrace" run --dir "$work/no/where" -- true
expect 2 '^memtrace: --dir not-executable: is not a directory' "$memtrace" run --dir not-executable -- true
expect 0 '' "$memtrace" run --dir "$work/made-later/" --sample all --sample 1M -- true
for unwinder in auto cfi fp libunwind boost; do # the shim knows each of them, and says nothing
  expect 0 '' "$memtrace" run --unwind "$unwinder" -- true
  [[ ! -s $work/output ]] || fail "--unwind $unwinder: $(cat "$work/output")"
done
expect 2 '^memtrace: --unwind' "$memtrace" run --unwind magic -- true
for pid in abc '' -5 0 99999999999; do
  expect 2 "^memtrace: snap: '$pid' is not the number of a process;" "$memtrace" snap "$pid"
done
expect 2 "^memtrace: --timeout: 'nan' is not a number of seconds" "$memtrace" snap --timeout nan 1
status=0
"$memtrace" run 2>&- || status=$?
[[ $status == 2 ]] || fail "run with stderr closed: status $status"
expect 2 'statically linked' "$memtrace" run -- /sbin/ldconfig -p
mkdir at-exit
expect 0 '' "$memtrace" run --dir "$work/at-exit" --at-exit --sample all -- bash -c 'exec bash -c :'
[[ -n $(find at-exit -name 'bash.*.snap') ]] || fail "no snapshot at exit"
expect 0 "^LD_PRELOAD=[^:]*/libmemtrace.so:/lib/other.so\$" env LD_PRELOAD=/lib/other.so "$memtrace" run -- env

# snap: the path of a whole file, with the label in its name, readable by its owner alone.
mkdir plain
start plain "$memtrace" run --dir "$work/plain" -- "$server"
expect 0 "^$work/plain/session_server\.$pid\.[0-9a-f]{8}\.0001\.snap\$" "$memtrace" snap "$pid"
expect 0 "\.0002\.before\.deploy\.snap\$" "$memtrace" snap --label before.deploy "$pid"
snapshot=$(cat "$work/output")
[[ $(stat -c %a "$snapshot") == 600 ]] || fail "mode of $snapshot"
expect 0 session_server "$memdiff" "$snapshot"
[[ -z $(find plain -name '.*') ]] || fail "left behind: $(find plain -name '.*')"
expect 2 'label' "$memtrace" snap --label a/b "$pid"

# A stopped process answers later: the wait ends, and the process lives on.
kill -STOP "$pid"
expect 3 'no snapshot came' "$memtrace" snap --timeout 0.3 "$pid"
kill -CONT "$pid"
alive "$pid"
kill -TERM "$pid"
wait "$pid" || fail "session_server ended with $? on SIGTERM"
expect 1 'no process' "$memtrace" snap "$pid"

# Not ready: refused, and alive afterwards.
start untraced "$server"
expect 1 'not loaded' "$memtrace" snap "$pid"
alive "$pid"
start off env MEMTRACE=0 "$memtrace" run -- "$server"
expect 1 'MEMTRACE=0' "$memtrace" snap "$pid"
alive "$pid"
start left-out "$memtrace" run --only 'nginx,redis-*' -- "$server"
expect 1 'MEMTRACE_ONLY' "$memtrace" snap "$pid"
alive "$pid"
start no-signal "$memtrace" run --signal none -- "$server"
expect 1 'MEMTRACE_SIGNAL=none' "$memtrace" snap "$pid"
alive "$pid"
start ignoring bash -c 'trap "" USR2; exec "$@"' - "$memtrace" run -- "$server"
expect 1 'ignores' "$memtrace" snap "$pid"
alive "$pid"

# A program that uses the signal itself gets its own ones, and never those of snap.
start own-handler "$memtrace" run -- bash -c 'trap "echo mine" USR2; echo port; while :; do sleep 0.05; done'
expect 0 '\.0001\.snap$' "$memtrace" snap "$pid"
kill -USR2 "$pid"
for ((tries = 0; tries < 400; ++tries)); do
  if grep -q mine own-handler.port; then break; fi
  sleep 0.025
done
expect 0 '\.0002\.snap$' "$memtrace" snap "$pid"
[[ $(grep -c mine own-handler.port) == 1 ]] || fail "snap woke the program's own handler"
alive "$pid"
start own-end "$memtrace" run -- bash -c 'trap exit USR2; echo port; while :; do sleep 0.05; done'
expect 0 '\.0001\.snap$' "$memtrace" snap "$pid"
alive "$pid"

# A child that its program confined may not even return from a handler.
mkfifo gate
"$memtrace" run -- bash -c "'$build/tests/programs/confined' prctl <gate; :" >confined.out 2>confined.log &
pid=$!
children+=("$pid")
exec 9>gate
for ((tries = 0; tries < 400; ++tries)); do
  if grep -q confined confined.out; then break; fi
  sleep 0.025
done
alive "$pid" || cat confined.log
inner=$(cat "/proc/$pid/task/$pid/children")
expect 1 'confined by seccomp' "$memtrace" snap "${inner// /}"
alive "${inner// /}"
exec 9>&-

# Another signal, a relative directory.
mkdir -p elsewhere
start real-time env -C elsewhere "$memtrace" run --signal SIGRTMIN+5 --dir snapshots -- "$server"
expect 0 "^$work/elsewhere/snapshots/.*\.snap\$" "$memtrace" snap "$pid"

# Another account, and a pid namespace: only root can make them.
if ((EUID == 0)) && command -v setpriv >/dev/null; then
  chmod 755 "$work"
  mkdir -m 777 account
  if setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$server"; then
    start account setpriv --reuid 65534 --regid 65534 --clear-groups \
      env MEMTRACE_DIR="$work/account" LD_PRELOAD="$build/preload/libmemtrace.so" "$server"
    expect 0 "^$work/account/.*\.by-root\.snap\$" "$memtrace" snap --label by-root "$pid"
  fi
fi
if ((EUID == 0)) && unshare --pid --fork --mount-proc true 2>/dev/null; then
  mkdir namespace
  start namespace unshare --pid --fork --mount-proc --kill-child \
    env MEMTRACE_DIR="$work/namespace" LD_PRELOAD="$build/preload/libmemtrace.so" "$server"
  inner=$(cat "/proc/$pid/task/$pid/children")
  expect 0 "^$work/namespace/session_server\.1\..*\.snap\$" "$memtrace" snap "${inner// /}"
fi

((failures == 0)) || exit 1
echo "memtrace run and snap behave"
