"""Which programs there are, by the names that the scripts know them by."""
from commands import compiler, filters, git, sqlite
from interpreters import (java, java_flight, java_processes, node, node_workers, perl, python, python_venv, ruby)
from nginx import nginx, nginx_upgrade
from postgres import postgres
from redis import redis, redis_by_name, redis_saving
from servers import apache, memcached, php, ssh
from stress import stress
from suites import (cpython_multiprocessing, cpython_processes, cpython_signals, cpython_threads, own_tree)
from tools import chromium, compressors, ffmpeg, gdb, man, sandboxes, systemd, tmux


def _named(*programs):
    return {name.replace("_", "-"): program for name, program in programs}


# Seconds each, in every CI that has the packages.
REAL_PROGRAMS = _named(
    ("redis", redis), ("redis_by_name", redis_by_name), ("python3", python), ("python3_pools", python_venv),
    ("sqlite3", sqlite), ("nginx", nginx), ("nginx_upgrade", nginx_upgrade), ("g++", compiler), ("git", git),
    ("java", java), ("java_flight", java_flight), ("node", node), ("perl", perl), ("filters", filters),
    ("postgres", postgres))

# Minutes each.
TORTURE = REAL_PROGRAMS | _named(
    ("redis_saving", redis_saving), ("stress_ng", stress), ("apache2", apache), ("php_fpm", php),
    ("memcached", memcached), ("openssh", ssh), ("java_processes", java_processes), ("node_workers", node_workers),
    ("ruby", ruby), ("cpython_threads", cpython_threads), ("cpython_processes", cpython_processes),
    ("cpython_signals", cpython_signals), ("cpython_multiprocessing", cpython_multiprocessing),
    ("own_tree", own_tree), ("compressors", compressors), ("gdb", gdb), ("tmux", tmux), ("man", man),
    ("systemd", systemd), ("sandboxes", sandboxes))

# Large to install.
LARGE = _named(("ffmpeg", ffmpeg), ("chromium", chromium))
