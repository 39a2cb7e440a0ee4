"""Programs that the shim cannot enter: static ones, and i386 children, which inherit LD_PRELOAD all the same."""
import os
import subprocess

HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 5; }\n'
# Without a libc: of i386 only the loader is needed, which is what reads LD_PRELOAD.
HELLO_I386 = """
static int call(int number, int a, const char* b, int c) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}
void _start(void) {
  call(4, 1, "hello\\n", 6);
  call(1, 0, "", 0);
}
"""


def compiled(source, program, *flags):
    subprocess.run(["gcc", *flags, "-x", "c", "-", "-o", program], input=source.encode(), check=True)
    return program


def run(command, env):
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def static_problems(build, work, flag):
    program = compiled(HELLO, work / "hello", flag)
    snapshots = work / f"snapshots{flag}"
    snapshots.mkdir()
    traced = run([program], {"LD_PRELOAD": str(build / "preload/libmemtrace.so"), "MEMTRACE_DIR": str(snapshots),
                             "MEMTRACE_AT_EXIT": "1"})
    if traced != (5, "hello\n", ""):
        yield f"changed by the shim: {traced}"
    if os.listdir(snapshots):
        yield "left a snapshot"
    said = run([build / "analyzer/memtrace", "run", "--", program], {})
    if said != (2, "", f"memtrace: {program} is statically linked: no loader runs in it that could preload the shim\n"):
        yield f"memtrace run: {said}"


def i386_problems(build, work):
    """By path, the loader of each i386 child says that it ignores the shim; by name, it finds the empty one."""
    program = compiled(HELLO_I386, work / "hello-i386", "-m32", "-O1", "-ffreestanding", "-nostdlib",
                       "-fno-stack-protector", "-fpie", "-pie", "-Wl,--dynamic-linker=/lib/ld-linux.so.2")
    parent = ["bash", "-c", f"{program}; true"]
    places = f"{build / 'preload'}:{build / 'preload/i386'}"
    bare = run(parent, {"LD_LIBRARY_PATH": places})
    if bare != (0, "hello\n", ""):
        yield f"does not run here at all: {bare}"
        return
    by_path = run(parent, {"LD_LIBRARY_PATH": places, "LD_PRELOAD": str(build / "preload/libmemtrace.so")})
    if by_path[:2] != bare[:2] or "wrong ELF class" not in by_path[2]:
        yield f"README.md says that the loader says \"wrong ELF class\" with a path: {by_path}"
    snapshots = work / "snapshots-i386"
    snapshots.mkdir()
    by_name = run(parent, {"LD_LIBRARY_PATH": places, "LD_PRELOAD": "libmemtrace.so", "MEMTRACE_DIR": str(snapshots),
                           "MEMTRACE_AT_EXIT": "1"})
    if by_name != bare:
        yield f"changed by the shim: {by_name}"
    if [name.split(".")[0] for name in os.listdir(snapshots)] != ["bash"]:
        yield f"its 64-bit parent was not traced: {os.listdir(snapshots)}"


def foreign_programs(build, work):
    """(name, problems)"""
    yield "static", list(static_problems(build, work, "-static"))
    yield "static-pie", list(static_problems(build, work, "-static-pie"))
    yield "i386 child", list(i386_problems(build, work))
