# Works for a while, keeps some of it, and pauses twice so that a snapshot can be taken.
import ctypes
import decimal
import hashlib
import json
import sqlite3
import sys
import zlib

kept = []


def work(rounds):
    for i in range(rounds):
        document = {"id": i, "tags": [f"tag-{n}" for n in range(40)], "text": "x" * (i % 700)}
        text = json.dumps(document, sort_keys=True)
        kept.append(json.loads(text))
        kept.append(zlib.compress(text.encode() * 4))
    database = sqlite3.connect(":memory:")
    database.execute("create table t (n integer, s text)")
    database.executemany("insert into t values (?, ?)", ((n, "v" * (n % 90)) for n in range(rounds)))
    total = database.execute("select sum(length(s)) from t").fetchone()[0]
    kept.append(ctypes.create_string_buffer(4 << 20))
    return total, decimal.Decimal(2).sqrt() ** 50


def pause():
    print("READY", flush=True)
    sys.stdin.readline()


print(*work(3000))
pause()
print(*work(9000))
pause()
print(hashlib.sha256(json.dumps([k for k in kept if isinstance(k, dict)]).encode()).hexdigest(), len(kept))
sys.exit(7)
