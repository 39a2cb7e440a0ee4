"""What one more of something costs, from a thousand of it to as many as is sensible: the table should be flat."""
import json
import pathlib
import shutil
import statistics

from harness import figure, interleaved, output

# What, its sampling, the numbers of it (quick, full), and how to call it.
SERIES = [
    ("live", "all", (10**3, 10**4, 10**5, 10**6), (10**7,), "one more live block (free one, allocate one)"),
    ("samples", "64KiB", (10**3, 10**4, 10**5), (10**6,), "a small pair beside so many live samples"),
    ("stacks", "all", (10**3, 10**4, 10**5), (10**6,), "one more distinct stack, 25 frames"),
    ("threads", "all", (10, 100, 1000), (4000,), "one more thread that allocates"),
    ("modules", "all", (10, 100, 1000), (3000,), "one more module: dlopen, a pair in it, dlclose"),
    ("calls", "all", (10, 100, 1000), (3000,), "a pair in any one of so many modules"),
]
ROUNDS = 3
ONE_MORE_MODULES = 20  # one_more opens as many on top


def copies(context, count):
    """A directory with `count` modules; the loader knows copies apart, links not."""
    directory = context.work / "modules"
    directory.mkdir(exist_ok=True)
    for i in range(count):
        if not (directory / f"{i}.so").exists():
            shutil.copyfile(context.build / "tests/bench/one_module.so", directory / f"{i}.so")
    return directory


def measure(context, command, environment):
    ns, kib = output(command, environment).split()
    return float(ns), float(kib)


def lost(context, command, environment):
    """How many samples a run lost, by its own account: what is lost costs nothing, and would make a table flat."""
    for old in context.work.glob("*.snap"):
        old.unlink()
    output(command, {**environment, "MEMTRACE_AT_EXIT": "1"})
    snapshot = next(pathlib.Path(context.work).glob("*.snap"))
    report = json.loads(output([context.build / "analyzer/memdiff", "-q", "-n", "1", "-F", "json", snapshot],
                               context.tools["bare"].environment))
    snapshot.unlink()
    return report["self"]["lost"]


def point(context, what, sample, n, before):
    """One row; gives what the next one measures its memory against: how many, and the KiB that tracing them added."""
    command = [context.build / "tests/bench/one_more", what, n]
    if what in ("modules", "calls"):
        command.append(copies(context, n + ONE_MORE_MODULES))
    environments = {"bare": context.tools["bare"].environment,
                    "traced": {**context.tools["memtrace sampled"].environment, "MEMTRACE_SAMPLE": sample}}
    samples = interleaved(environments, ROUNDS, lambda name: measure(context, command, environments[name]))
    bare, traced = samples["bare"], samples["traced"]
    added_ns = statistics.median(t[0] - b[0] for b, t in zip(bare, traced))
    added_kib = statistics.median(t[1] - b[1] for b, t in zip(bare, traced))
    each = (added_kib - before[1]) * 1024 / (n - before[0])
    print(f"  {n:>12,}{figure(statistics.median(b[0] for b in bare)):>12}"
          f"{figure(statistics.median(t[0] for t in traced)):>12}{figure(added_ns):>12}{added_kib / 1024:>12.1f}"
          f"{figure(each) if before[0] else '':>16}{lost(context, command, environments['traced']):>8,}", flush=True)
    return n, added_kib


def run(context):
    for what, sample, quick, further, title in SERIES:
        print(f"\n{title}; MEMTRACE_SAMPLE={sample}\n  {'there are':>12}{'bare, ns':>12}{'traced, ns':>12}{'added, ns':>12}"
              f"{'added, MiB':>12}{'bytes each more':>16}{'lost':>8}")
        before = (0, 0)
        for n in quick + context.choose((), further):
            before = point(context, what, sample, n, before)
