"""Test suites that others wrote, and large builds: CPython's own tests, our own tree by g++."""
import glob
import hashlib
import os
import re
import subprocess

from run import HELPERS, PATIENCE

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HELPERS)))
VERDICT = re.compile(rb"^(test\w+ \([\w.]+\)).*? \.\.\. .*?(ok|skipped|FAIL|ERROR|expected failure)", re.M | re.S)


def _cpython(run, key, *arguments):
    process = run.start(["/usr/bin/python3", "-m", "test", "-v", *arguments], run.env(at_exit=True),
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = process.communicate(timeout=PATIENCE * 10)[0]
    # Threads write into one another's lines, and a skipped test says why: only what each test came to.
    run.say(key, process.returncode, sorted({name: verdict for name, verdict in VERDICT.findall(out)}.items()))


def cpython_threads(run):
    _cpython(run, "threading", "test_threading", "test_thread", "test_queue", "test_threading_local")


def cpython_processes(run):
    _cpython(run, "subprocess", "test_subprocess", "-i", "*test_leak_fast_process_del_killed*")
    _cpython(run, "fork", "test_fork1", "test_wait3", "test_wait4", "test_posix", "test_os", "-m", "*ork*", "-m",
             "*pawn*", "-m", "*ait*")


def cpython_signals(run):
    # test_itimer_real takes the end of pause() for its timer's signal: any other that has a handler ends it, too.
    _cpython(run, "signal", "-i", "*test_itimer_real*", "test_signal", "test_threadsignals", "test_faulthandler")


def cpython_multiprocessing(run):
    _cpython(run, "multiprocessing", "test_multiprocessing_fork", "test_multiprocessing_forkserver", "-m", "*Pool*",
             "-m", "*Queue*", "-m", "*Lock*", "-m", "*ThreadsTestProcesses*")


def own_tree(run):
    """Objects of our own sources have to be the same to the byte."""
    sources = sorted(glob.glob(os.path.join(ROOT, "preload/*.cpp")))[::4] + \
        sorted(glob.glob(os.path.join(ROOT, "analyzer/*.cpp")))[::8]
    made = []
    for i, source in enumerate(sources):
        target = os.path.join(run.work, f"{i}.o")
        process = run.start(["g++", "-std=c++20", "-O2", "-g", "-I", ROOT, "-ftls-model=initial-exec", "-c", source, "-o",
                             target], run.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
        if i == 0:
            run.snap_descendants(process, "cc1plus")
        out = process.communicate(timeout=PATIENCE * 3)[0]
        digest = None
        if os.path.exists(target):
            with open(target, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
        made.append((os.path.basename(source), process.returncode, out, digest))
    run.say("objects", made)
