"""A snapshot of every traced process of a run, ten times a second."""
import ctypes
import os
import threading

PERIOD = 0.1
MEANT = int.from_bytes(b"memtrace", "little")  # what `memtrace snap` sends along: for the shim, not the program

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sigqueue.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _field(status, name):
    for line in status.splitlines():
        if line.startswith(name):
            return line.split()[1]
    return b"0"


def _may_be_asked(status, sig):
    """It has a handler, and no filter of its own, which may not let it return from one."""
    return int(_field(status, b"SigCgt:"), 16) >> (sig - 1) & 1 and _field(status, b"Seccomp_filters:") == OUR_FILTERS


OUR_FILTERS = _field(_read("/proc/self/status"), b"Seccomp_filters:")


class Storm:
    def __init__(self, run):
        self._run = run
        self._shim = os.path.basename(os.path.dirname(run.tools.shim)).encode()
        self._traced = {}  # pid -> (what it executes, whether the shim is in it, for how many rounds)
        self._asked = 0
        self._processes = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage)
        self._thread.start()

    def end(self):
        self._over.set()
        self._thread.join()

    def __str__(self):
        return f"storm: {self._asked} snapshots asked of {len(self._processes)} processes"

    def _rage(self):
        while not self._over.wait(PERIOD):
            for entry in os.listdir("/proc"):
                if entry.isdigit() and int(entry) != os.getpid():
                    try:
                        self._ask(int(entry))
                    except (OSError, IndexError):
                        pass  # it ended

    def _ask(self, pid):
        # A process that is just being executed has no handler yet, and would die of the signal: only those are
        # asked that execute what they executed in the round before.
        stat = _read(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()
        image = (os.readlink(f"/proc/{pid}/exe"), stat[19])
        known, traced, rounds = self._traced.get(pid, (None, False, 0))
        if known != image:
            rounds = 0
        if rounds < 2:  # in the first the loader may not have come to it yet
            # Of our own children also those that found it in a place that they alone see.
            shim = b"/libmemtrace.so" if int(stat[1]) == os.getpid() else self._shim
            traced = shim in _read(f"/proc/{pid}/maps")
        self._traced[pid] = (image, traced, rounds + 1)
        sig = self._run.signal
        if traced and rounds > 0 and _may_be_asked(_read(f"/proc/{pid}/status"), sig):
            if _libc.sigqueue(pid, sig, MEANT) == 0:
                self._asked += 1
                self._processes.add(pid)
