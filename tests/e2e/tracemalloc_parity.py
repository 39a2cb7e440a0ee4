#!/usr/bin/env python3
"""The same allocations through CPython's tracemalloc and through memdiff: the same lines in the same order.

usage: tracemalloc_parity.py MEMDIFF SNAP_FROM_TEXT CC

CPython is the oracle. Its traces are made-up (file, line) pairs; memdiff gets them as addresses in a real ELF file whose
line table, by way of #line, says the same.
"""

import difflib
import os
import random
import re
import subprocess
import sys
import tempfile
import tracemalloc

SEEDS = 60
FILES = ["/t/a.py", "/t/b.py", "/t/Z.py", "/t/sub/a.py", "/t/aa.py", "/t/é.py"]
LINES = [1, 2, 9, 10, 88, 100, 65536]


class Code:
    """An ELF file with one instruction for each place; some lines have several places."""

    def __init__(self, directory, cc):
        self.path = os.path.join(directory, "code.so")
        self.places = [(f, l) for f in FILES for l in LINES] + [(FILES[0], 88), (FILES[1], 1), (FILES[0], 88)]
        source = ["void code(void) {"]
        for number, (file, line) in enumerate(self.places):
            source += ['#line %d "%s"' % (line, file), '__asm__ volatile("place_%d: nop");' % number]
        source += ["}"]
        name = os.path.join(directory, "code.c")
        with open(name, "w") as out:
            out.write("\n".join(source) + "\n")
        subprocess.run([cc, "-g", "-O1", "-shared", "-fPIC", "-Wl,--build-id=sha1", "-o", self.path, name], check=True)
        self.addresses = {}
        for line in self._tool("nm", self.path).splitlines():
            match = re.match(r"([0-9a-f]+) \w place_(\d+)$", line)
            if match:
                self.addresses[int(match.group(2))] = int(match.group(1), 16)
        assert len(self.addresses) == len(self.places)
        self.build_id = re.search(r"Build ID: ([0-9a-f]+)", self._tool("readelf", "-n", self.path)).group(1)
        load = re.search(r"LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+) 0x\w+ R E", self._tool("readelf", "-lW", self.path))
        self.offset, self.vaddr, self.size = (int(x, 16) for x in load.groups())

    @staticmethod
    def _tool(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def describe(code, base, sequence, blocks):
    """blocks: {number: (size, places)}, innermost place first."""
    start = base + code.vaddr
    lines = ["exe /t/python", "pid 7", "sequence %d" % sequence, "clock %d %d" % (10**18 + sequence, 10**10 + sequence),
             "interval 0",
             "module %d %d %d %s %s" % (start, start + code.size, code.offset, code.build_id, code.path)]
    lines += ["location %d 0" % (base + code.addresses[n]) for n in range(len(code.places))]
    stacks = {}
    records = []
    for number, (size, places) in blocks.items():
        stack = stacks.setdefault(places, len(stacks))
        records.append("record %d %d %d" % (number, size, stack))
    lines += ["stack " + " ".join(map(str, places)) for places in stacks]
    return "\n".join(lines + records) + "\n"


def snapshot(code, blocks):
    """CPython's, of the same blocks. It keeps frames most recent first, as we do."""
    traces = [(0, size, tuple(code.places[n] for n in places), len(places)) for size, places in blocks.values()]
    return tracemalloc.Snapshot(traces, 64)


def random_stack(rng, code, distinct):
    depth = rng.randint(1, 6)
    if distinct is None:
        return tuple(rng.randrange(len(code.places)) for _ in range(depth))
    # Where a stack counts once by our rule and once per frame by CPython's, keys must not recur to be comparable.
    chosen = {}
    for number in rng.sample(range(len(code.places)), len(code.places)):
        chosen.setdefault(distinct(code.places[number]), number)
    return tuple(list(chosen.values())[:depth])


def random_blocks(rng, code, distinct):
    sizes = rng.choice([[1, 2, 64], list(range(0, 3000)), [0, 99, 100, 1023, 1024, 10239, 10240, 102400, 1 << 20, 5 << 30, 1 << 44],
                        [64]])
    stacks = [random_stack(rng, code, distinct) for _ in range(rng.randint(1, 30))]
    old = {n: (rng.choice(sizes), rng.choice(stacks)) for n in range(1, rng.choice([1, 20, 300]))}
    keep = rng.choice([0.0, 0.3, 0.9, 1.0])
    new = {n: block for n, block in old.items() if rng.random() < keep}
    new.update({1000 + n: (rng.choice(sizes), rng.choice(stacks)) for n in range(rng.choice([0, 1, 20, 300]))})
    return old, new


def check(name, expected, got):
    if expected == got:
        return 0
    print("FAILED", name)
    sys.stdout.writelines(l + "\n" for l in difflib.unified_diff(expected, got, "tracemalloc", "memdiff", lineterm=""))
    return 1


def main():
    memdiff, snap_from_text, cc = sys.argv[1:]
    failures = 0
    lines = 0
    with tempfile.TemporaryDirectory() as directory:
        code = Code(directory, cc)
        a, b = (os.path.join(directory, name) for name in ("a.snap", "b.snap"))
        kinds = {"plain": None, "lineno": lambda place: place, "filename": lambda place: place[0]}
        for seed in range(SEEDS):
            rng = random.Random(seed)
            for kind, distinct in kinds.items():
                old, new = random_blocks(rng, code, distinct)
                base = rng.randrange(1, 1000) << 24
                for path, sequence, blocks in ((a, 1, old), (b, 2, new)):
                    subprocess.run([snap_from_text, path], input=describe(code, base, sequence, blocks), text=True, check=True)
                cumulative = kind != "plain"
                for key in [kind] if cumulative else ["lineno", "filename", "traceback"]:
                    command = [memdiff, "-F", "tracemalloc", "-s", "abs", "-n", "0", "-g", key]
                    command += ["--cumulative"] if cumulative else []
                    name = "seed %d, %s%s" % (seed, key, ", cumulative" if cumulative else "")
                    for files, statistics in (
                            ([a, b], snapshot(code, new).compare_to(snapshot(code, old), key, cumulative)),
                            ([b], snapshot(code, new).statistics(key, cumulative))):
                        run = subprocess.run(command + files, capture_output=True, text=True)
                        if run.returncode != 0:
                            print("FAILED", name, run.stderr)
                            failures += 1
                            continue
                        expected = [str(s) for s in statistics]
                        lines += len(expected)
                        failures += check(name + ", %d file(s)" % len(files), expected, run.stdout.splitlines())
    print("%d lines compared, %d cases differ" % (lines, failures))
    return 1 if failures or lines < 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
