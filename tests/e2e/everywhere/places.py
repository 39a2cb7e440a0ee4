"""Where the shim is loaded: a root directory with a libc, and the program built for it."""
import ctypes
import os
import pathlib
import re
import shutil
import subprocess

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent / "programs/everywhere"
FLAGS = ("-O1", "-g", "-fno-builtin", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")
LIBC = ctypes.CDLL(None, use_errno=True)
INSIDE = pathlib.Path("/memtrace")  # in a root: the program, the shim, snapshots
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


class Place:
    """root: "/" or a directory to chroot into; inside: where in it programs, shim and snapshots go."""

    def __init__(self, name, root, inside, libc, unwinders):
        self.name, self.root, self.inside, self.libc = name, pathlib.Path(root), inside, libc
        self.unwinders = unwinders

    def outside(self, path):
        return self.root / str(path).lstrip("/")

    def enter(self):
        """In the child, before exec: this root with its own /proc, in a mount namespace that ends with it."""
        if self.root == pathlib.Path("/"):
            return
        if LIBC.unshare(CLONE_NEWNS) or LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or \
                LIBC.mount(b"proc", os.fsencode(self.root / "proc"), b"proc", 0, None):
            raise OSError(ctypes.get_errno(), "cannot mount /proc in the root")
        os.chroot(self.root)
        os.chdir("/")


def build(compiler, directory, sources=SOURCES):
    flags = (*compiler, *FLAGS)
    subprocess.run([*flags, sources / "everywhere.c", "-o", directory / "everywhere", "-pthread", "-ldl"], check=True)
    subprocess.run([*flags, "-shared", "-fPIC", sources / "everywhere_plugin.c", "-o", directory / "everywhere_plugin.so"],
                   check=True)


def made(directory):
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def libc_of(*chroot):
    return subprocess.run([*chroot, "getconf", "GNU_LIBC_VERSION"], check=True, capture_output=True, text=True).stdout.strip()


def host(work):
    build(["gcc"], made(work / "host"))
    return Place("this machine", "/", work / "host", libc_of(), ("auto", "boost", "libunwind", "fp"))


def debian_root(suite, cache):
    """Built by its own compiler: this machine's would ask for this machine's glibc."""
    root, partial = cache / suite, cache / f"{suite}.partial"
    if not root.exists():
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["debootstrap", "--variant=minbase", "--include=gcc,libc6-dev", suite, partial], check=True,
                       stdout=subprocess.DEVNULL)
        partial.rename(root)
    shutil.copytree(SOURCES, root / "memtrace", dirs_exist_ok=True)
    build(["chroot", root, "gcc"], INSIDE, INSIDE)
    return Place(f"Debian {suite}", root, INSIDE, libc_of("chroot", root), ("auto", "boost", "fp"))


def musl_version():
    said = subprocess.run(["/lib/ld-musl-x86_64.so.1"], capture_output=True, text=True).stderr
    return f"musl {re.search('Version (.*)', said).group(1)}"


def musl_beside_glibc(work):
    build(["musl-gcc"], made(work / "musl"))
    return Place("musl beside glibc", "/", work / "musl", musl_version(), ("auto", "fp"))


def musl_alone(work):
    root = work / "musl-root"
    made(root / "proc")
    shutil.copy("/lib/ld-musl-x86_64.so.1", made(root / "lib"))
    build(["musl-gcc"], made(root / "memtrace"))
    return Place("musl alone", root, INSIDE, musl_version(), ("auto", "fp"))


def given_root(root, oldest):
    """A root of somebody's own. The program comes from the oldest root at hand, or is built for musl where that is."""
    if (root / "lib/ld-musl-x86_64.so.1").exists():
        build(["musl-gcc"], made(root / "memtrace"))
        return Place(str(root), root, INSIDE, "musl", ("auto", "fp"))
    shutil.copytree(oldest / "memtrace", root / "memtrace", dirs_exist_ok=True)
    return Place(str(root), root, INSIDE, libc_of("chroot", root), ("auto", "fp"))
