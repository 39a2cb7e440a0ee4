"""Runs each program bare twice, to show that comparing it means something, then under the shim in several modes."""
import json
import os
import shutil
import signal
import resource
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from reading import Reading, Tools
from redis import redis, redis_by_name, redis_growth
from run import Failed, HELPERS, Run
from storm import Storm

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HELPERS)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def difference(one, two):
    """Where two runs part, with some of what stands there."""
    for key in list(one) + [key for key in two if key not in one]:
        a, b = str(one.get(key)), str(two.get(key))
        if a != b:
            at = max(0, len(os.path.commonprefix((a, b))) - 60)
            return f"{key}: {a[at:at + 400]} != {b[at:at + 400]}"
    return None


class Trial:
    """All runs of one program. `rows`: cells of the table; `good`: nothing differs and every snapshot reads."""

    def __init__(self, name, program, modes, tools, base, keep):
        self.name, self.program, self.tools, self.base, self.keep = name, program, tools, base, keep
        self.runs, self.seconds, self.verdicts, self.notes = {}, {}, {}, []
        self.reading = Reading()
        port = free_port()
        for mode in ("bare", "bare again", *modes):
            self.run_in(mode, port)
        if program in (redis, redis_by_name) and set(self.verdicts.values()) == {"identical"}:
            self.check_growth()
        self.good = not self.reading.problems and set(self.verdicts.values()) == {"identical"}
        self.row = [name, *(f"{self.verdicts.get(mode, '-')} {self.seconds[mode]:.1f}" for mode in
                            ("bare again", *modes)), str(self.reading.count), str(self.reading)]

    def run_in(self, mode, port):
        # The same place each time: paths turn up in what programs say.
        work = os.path.join(self.base, "work")
        snapshots = os.path.join(self.base, "snapshots", self.name, mode)
        os.makedirs(work, 0o755)
        os.makedirs(snapshots, 0o755)
        run = self.runs[mode] = Run(mode, work, snapshots, self.tools, port)
        begin = time.monotonic()
        storm = Storm(run) if mode == "storm" else None
        try:
            self.program(run)
        except Exception as error:
            self.verdicts[mode] = "failed"
            self.notes.append(f"{self.name}, {mode}: {error}")
            if not isinstance(error, Failed):
                self.notes.append(traceback.format_exc())
        finally:
            if storm:
                storm.end()
            run.clean_up()
            shutil.rmtree(work)
        self.seconds[mode] = time.monotonic() - begin
        if mode in self.verdicts or mode == "bare":
            return
        found = difference(self.runs["bare"].said, run.said)
        self.verdicts[mode] = "different" if found else "identical"
        if found:
            self.notes.append(f"{self.name}, {mode}: {found}")
        if mode != "bare again":
            try:
                self.reading.read(run, self.keep)
            except (Failed, subprocess.CalledProcessError) as error:
                self.reading.problems.append(str(error))
        if storm:
            self.notes.append(f"{self.name}: {storm}")
            # Most of them need not be kept.
            shutil.rmtree(snapshots)

    def check_growth(self):
        try:
            self.notes.append(f"{self.name}: 200,000 keys: " + redis_growth(
                self.runs, lambda mode: json.loads(self.tools.report("-F", "json", *self.runs[mode].pairs[0])[0])))
        except Failed as error:
            self.verdicts["sampled"] = "wrong"
            self.notes.append(f"{self.name}: {error}")


def print_table(modes, rows):
    head = ["program", "bare again", *modes, "snapshots", "readable (share of bytes named, slowest memdiff)"]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print("Figures after a verdict are seconds of wall time, on a machine that may have been busy.")


def run_all(script, programs, modes, build, keep):
    """`programs`: {name: function of a Run}. The script's exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tools = Tools(build)
    base = tempfile.mkdtemp(prefix=f"{script}.")
    os.chmod(base, 0o755)
    # Other accounts have to be able to load it, and a build must not change under a run.
    tools.shim = shutil.copy(tools.shim, os.path.join(base, "libmemtrace.so"))
    trials = []
    try:
        if keep:
            os.makedirs(keep, exist_ok=True)
        for name, program in programs.items():
            trial = Trial(name, program, modes, tools, base, keep)
            trials.append(trial)
            print("  ".join(trial.row), file=sys.stderr, flush=True)
            for note in trial.notes:
                print("  " + note, file=sys.stderr, flush=True)
        if keep:
            shutil.copytree(os.path.join(base, "snapshots"), os.path.join(keep, "snapshots"), dirs_exist_ok=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)

    print_table(modes, [trial.row for trial in trials])
    for trial in trials:
        for note in trial.notes:
            print(note)
    bad = [trial.name for trial in trials if not trial.good]
    print(f"{script}: {len(trials) - len(bad)} of {len(trials)} programs behave as without the shim" +
          (f"; not: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


def choose(parser, programs, names):
    """Those of `programs` that a comma-separated list names, in its order; all without one."""
    chosen = {}
    for name in names.split(",") if names else programs:
        if name not in programs:
            parser.error(f"no program {name}; known: {', '.join(programs)}")
        chosen[name] = programs[name]
    return chosen
