"""What memdiff and go tool pprof make of snapshots."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from run import Failed

SLOW_REPORT = 2.0


class Tools:
    def __init__(self, build):
        def built(path):
            path = os.path.join(os.path.abspath(build), path)
            if not os.path.exists(path):
                sys.exit(f"real-programs: {path} is not built")
            return path

        self.shim = built("preload/libmemtrace.so")
        self.memdiff = built("analyzer/memdiff")
        self.memtrace = built("analyzer/memtrace")
        self.go = shutil.which("go")

    def report(self, *arguments):
        """Text and seconds, or Failed."""
        begin = time.monotonic()
        done = subprocess.run([self.memdiff, "--color", "never", *arguments], capture_output=True)
        if done.returncode != 0 or done.stderr:
            raise Failed(f"memdiff {' '.join(arguments)}: status {done.returncode}: {done.stderr.decode()[:300]}")
        return done.stdout.decode(), time.monotonic() - begin

    def pprof_totals(self, snapshot):
        with tempfile.NamedTemporaryFile(suffix=".pb") as profile:
            subprocess.run(["zstd", "-dcq", snapshot], stdout=profile, check=True)
            env = dict(os.environ, PPROF_TMPDIR=os.path.dirname(profile.name), PPROF_BINARY_PATH="/nonexistent")
            totals = []
            for kind in ("inuse_space", "inuse_objects"):
                out = subprocess.run([self.go, "tool", "pprof", "-symbolize=none", "-top", "-unit=B", "-nodecount=1",
                                      f"-sample_index={kind}", profile.name], capture_output=True, env=env).stdout
                found = re.search(rb"of (\d+)B? total", out)
                totals.append(int(found.group(1)) if found else None)
            return totals


class Reading:
    """What memdiff and pprof made of a run's snapshots."""

    def __init__(self):
        self.count = 0
        self.slowest = 0.0
        self.named = []
        self.problems = []

    def read(self, run, keep):
        snapshots = sorted(glob.glob(os.path.join(glob.escape(run.snapshots), "*.snap")))
        self.count += len(snapshots)
        if not snapshots and not run.expects_none:
            self.problems.append("no snapshot")
        if run.mode == "storm":
            # All of them whole; what a process that ended in the midst of one leaves is hidden, and no snapshot.
            for i in range(0, len(snapshots), 200):
                subprocess.run(["zstd", "-tq", *snapshots[i:i + 200]], check=True)
        else:
            for left in glob.glob(os.path.join(glob.escape(run.snapshots), ".*")):
                self.problems.append(f"left behind: {os.path.basename(left)}")
        for pair in run.pairs:
            text, seconds = run.tools.report(*pair)
            self.slowest = max(self.slowest, seconds)
            if keep:
                with open(os.path.join(keep, os.path.basename(pair[1]) + ".txt"), "w") as file:
                    file.write(text)
        # Where one command makes hundreds of processes, the largest snapshots stand for all.
        for snapshot in sorted(snapshots, key=os.path.getsize, reverse=True)[:6]:
            _, seconds = run.tools.report(snapshot)
            self.slowest = max(self.slowest, seconds)
            report = json.loads(run.tools.report("-F", "json", "-n", "0", snapshot)[0])
            live = report["new"]["live_bytes"]
            sites = report["sites"]
            whole = sum(site["size"]["new"] for site in sites)
            named = sum(site["size"]["new"] for site in sites if site["function"] or site["file"])
            if whole:
                self.named.append((named, whole))
            if run.tools.go:
                space, objects = run.tools.pprof_totals(snapshot)
                if space is None and not sites:
                    continue
                if abs((space or 0) - live) > 1 + len(sites) or \
                        abs((objects or 0) - report["new"]["live_count"]) > 1 + len(sites):
                    self.problems.append(f"pprof has {space} bytes in {objects} blocks, memdiff {live} in "
                                         f"{report['new']['live_count']}: {os.path.basename(snapshot)}")

    def __str__(self):
        if self.problems:
            return "; ".join(self.problems)
        whole = sum(w for _, w in self.named)
        share = f"{100 * sum(n for n, _ in self.named) / whole:.0f} %" if whole else "-"
        slow = " SLOW" if self.slowest > SLOW_REPORT else ""
        return f"yes, {share} named, {self.slowest:.1f} s{slow}"
