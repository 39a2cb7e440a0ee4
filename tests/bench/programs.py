"""Whole programs of the distribution: wall time, and processor time as a second witness on a busy machine."""
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time

from harness import compare, interleaved, timed

TOOLS = ("bare", "memtrace sampled", "memtrace all", "heaptrack")
PATIENCE = 60  # seconds; a tool under which a program takes longer is hopeless

JSON = """
import json, sys
document = [{"id": i, "name": "n%d" % i, "tags": ["a%d" % (i % 7), "b", None, True], "at": {"x": i * .5, "y": [i, -i]}}
            for i in range(2000)]
for _ in range(int(sys.argv[1])):
    document = json.loads(json.dumps(document))
"""

SQL = """
create table t(id integer primary key, name text, size real, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
  insert into t select i, 'name' || (i * 7919 % {rows}), i * 0.5, hex(i * 31) || printf('%08d', i) from n;
create index by_name on t(name);
select substr(name, 1, 6) as k, count(*), sum(size), group_concat(note) from t group by k order by 3 desc limit 20;
select count(*) from t a join t b on a.name = 'name' || b.id where a.note like '%3%';
"""

SOURCE = """
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>
int main() {
  std::map<std::string, std::vector<int>> lines;
  int number = 0;
  for (std::string line; std::getline(std::cin, line);) lines[line].push_back(++number);
  std::vector<std::pair<std::size_t, std::string>> repeated;
  for (const auto& [line, numbers] : lines) repeated.emplace_back(numbers.size(), line);
  std::ranges::sort(repeated, std::greater<>{});
  for (const auto& [count, line] : repeated) std::cout << count << '\\t' << line << '\\n';
}
"""


def cc1plus_command(directory):
    """What g++ would run. Called without g++: heaptrack does not follow into children."""
    source = directory / "compiled.cpp"
    source.write_text(SOURCE)
    plan = subprocess.run(["g++", "-std=c++20", "-g", "-O1", "-S", "-###", "-o", directory / "compiled.s", source],
                          check=True, capture_output=True, text=True).stderr
    return next(shlex.split(line) for line in plan.splitlines() if "cc1plus" in line and line.startswith(" "))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processor_ms(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
            s.sendall(b"PING\r\n")
            return s.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def redis(environment, requests, directory):
    """Wall time of redis-benchmark, which runs bare, and processor time of the server meanwhile."""
    port = free_port()
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                               str(directory)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not answers(port):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"redis-server did not start (exit status {server.poll()})")
            time.sleep(0.01)
        before = processor_ms(server.pid)
        begin = time.perf_counter()
        subprocess.run(["redis-benchmark", "-p", str(port), "-n", str(requests), "-r", "100000", "-d", "100", "-P", "16",
                        "-t", "set,get,lpush,lpop,hset", "-q"], check=True, capture_output=True, timeout=PATIENCE)
        return (time.perf_counter() - begin) * 1e3, processor_ms(server.pid) - before
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def workloads(context):
    """(title, program it needs, function of an environment that gives wall and processor time)"""
    python = "/usr/bin/python3"
    script = context.work / "query.sql"
    script.write_text(SQL.format(rows=context.choose(20000, 100000)))
    json = [python, "-c", JSON, context.choose(30, 100)]
    yield "python3 json", python, lambda e: timed(json, e, PATIENCE)
    yield "python3 json, PYTHONMALLOC=malloc", python, lambda e: timed(json, {**e, "PYTHONMALLOC": "malloc"}, PATIENCE)
    yield "sqlite3", "sqlite3", lambda e: timed(["sqlite3", ":memory:", f".read {script}"], e, PATIENCE)
    requests = context.choose(50000, 400000)
    yield "redis-server under redis-benchmark", "redis-server", lambda e: redis(e, requests, context.work)
    if shutil.which("g++"):
        command = cc1plus_command(context.work)
        yield "g++ (cc1plus)", "g++", lambda e: timed(command, e, PATIENCE)


def patient(known, measure):
    """Those that get through; this run, which is not counted, also warms what there is to warm."""
    through = []
    for name in known:
        try:
            measure(known[name].environment)
            through.append(name)
        except subprocess.TimeoutExpired:
            print(f"  not measured: {name}; given up after {PATIENCE} s")
    return through


def run(context):
    known = {name: context.tools[name] for name in TOOLS if name in context.tools}
    for title, program, measure in workloads(context):
        if not shutil.which(program):
            print(f"\n{title}\n  not measured: {program} is not installed")
            continue
        samples = interleaved(patient(known, measure), context.choose(3, 7),
                              lambda name: measure(known[name].environment))
        for which, what in enumerate(("wall", "processor")):
            compare(f"{title}: {what} time", "ms", known, {n: [s[which] for s in v] for n, v in samples.items()})
