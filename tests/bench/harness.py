"""What every section of scripts/bench shares: tools to run under, interleaved rounds, and the table."""
import glob
import os
import statistics
import subprocess
import threading
import time


class Tool:
    """A way to run a program: `name` in the table, variables to set, and what its figures are held against."""

    def __init__(self, name, settings=None, against=None, package=None):
        self.name = name
        self.settings = settings or {}
        self.against = against
        self.package = package
        clean = {k: v for k, v in os.environ.items() if k not in FOREIGN and not k.startswith("MEMTRACE")}
        self.environment = {**clean, **self.settings}

    @property
    def present(self):
        return os.path.exists(self.settings.get("LD_PRELOAD", "/"))


FOREIGN = ("LD_PRELOAD", "MALLOC_CONF", "HEAPPROFILE", "TCMALLOC_SAMPLE_PARAMETER", "PYTHONMALLOC")


def library(pattern):
    """The path of a library of the distribution; the pattern itself when there is none."""
    return next(iter(sorted(glob.glob(pattern))), pattern)


def tools(shim, work):
    """{name: Tool}, each after the one that it is held against."""
    memtrace = {"LD_PRELOAD": str(shim), "MEMTRACE_DIR": str(work)}
    # Without its interpreter, and what it records thrown away: the cheapest way to run it.
    heaptrack = {"LD_PRELOAD": library("/usr/lib/heaptrack/libheaptrack_preload.so"),
                 "DUMP_HEAPTRACK_OUTPUT": "/dev/null"}
    jemalloc = {"LD_PRELOAD": library("/usr/lib/*/libjemalloc.so.2")}
    gperftools = {"LD_PRELOAD": library("/usr/lib/*/libtcmalloc.so.4")}
    # No dumps while it runs; the one at exit lies outside of what the loops time.
    heap_profile = {"HEAPPROFILE": str(work / "gperftools"), "HEAP_PROFILE_ALLOCATION_INTERVAL": "0",
                    "HEAP_PROFILE_INUSE_INTERVAL": "0"}
    every = [
        Tool("bare"),
        Tool("memtrace sampled", memtrace, "bare"),
        Tool("memtrace all", {**memtrace, "MEMTRACE_SAMPLE": "all"}, "bare"),
        Tool("heaptrack", heaptrack, "bare", "heaptrack"),
        Tool("jemalloc bare", jemalloc, None, "libjemalloc2"),
        Tool("jemalloc sampled", {**jemalloc, "MALLOC_CONF": "prof:true,lg_prof_sample:19"}, "jemalloc bare",
             "libjemalloc2"),
        Tool("jemalloc all", {**jemalloc, "MALLOC_CONF": "prof:true,lg_prof_sample:0"}, "jemalloc bare",
             "libjemalloc2"),
        Tool("gperftools bare", gperftools, None, "libgoogle-perftools4"),
        Tool("gperftools sampled", {**gperftools, "TCMALLOC_SAMPLE_PARAMETER": "524288"}, "gperftools bare",
             "libgoogle-perftools4"),
        Tool("gperftools all", {**gperftools, **heap_profile}, "gperftools bare", "libgoogle-perftools4"),
    ]
    for tool in every:
        if not tool.present and tool.name.endswith(("bare", "heaptrack")):
            print(f"not measured: {tool.name.split()[0]}; package {tool.package} is not installed")
    return {tool.name: tool for tool in every if tool.present}


def output(command, environment, **options):
    """What a program prints. It fails when the program does, or when the loader could not preload the tool."""
    run = subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True, **options)
    if run.returncode or "ERROR: ld.so" in run.stderr or "<jemalloc>" in run.stderr:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {run.returncode}\n{run.stderr}")
    return run.stdout


def timed(command, environment, patience=None, **options):
    """Wall and processor time of a program and its children, in ms; its output is thrown away."""
    begin = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **options)
    impatient = threading.Timer(patience, process.kill) if patience else None
    if impatient:
        impatient.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = (time.perf_counter() - begin) * 1e3
    if impatient:
        impatient.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if patience and wall > patience * 1e3:
        raise subprocess.TimeoutExpired(command, patience)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {process.returncode}")
    return wall, (usage.ru_utime + usage.ru_stime) * 1e3


def interleaved(names, rounds, measure):
    """{name: [measure(name) of each round]}: every name once in each round, each round beginning with another."""
    names = list(names)
    samples = {name: [None] * rounds for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            samples[name][turn] = measure(name)
    return samples


def figure(value):
    """Three digits or so; no more is ever known."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def ratio_figure(value):
    return f"{value:.3f}" if value < 10 else figure(value)


def span(samples, show=figure):
    return f"{show(min(samples))} .. {show(max(samples))}"


def heading(title, unit, against=True):
    columns = f"{'added':>11}{'ratio':>9}{'min .. max':>18}" if against else ""
    print(f"\n{title}\n  {'':28}{unit:>10}{'min .. max':>22}{columns}", flush=True)


def row(label, samples, base=None):
    """Median and extremes; against `base`, sampled in the same rounds, the medians of differences and of ratios."""
    line = f"  {label:28}{figure(statistics.median(samples)):>10}{span(samples):>22}"
    if base:
        added = figure(statistics.median(a - b for a, b in zip(samples, base)))
        ratios = [a / b for a, b in zip(samples, base)]
        line += f"{added if added.startswith('-') else '+' + added:>11}" \
                f"{ratio_figure(statistics.median(ratios)):>9}{span(ratios, ratio_figure):>18}"
    print(line, flush=True)


def compare(title, unit, known, samples):
    """One block of the table: a row for each tool that was sampled."""
    heading(title, unit, any(known[name].against in samples for name in samples))
    for name, values in samples.items():
        row(name, values, samples.get(known[name].against))
