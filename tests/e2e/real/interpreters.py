"""Language runtimes that run a script: CPython, Node, Perl, Ruby, OpenJDK."""
import os
import subprocess

from run import HELPERS


def python(run):
    run.dialogue("run", ["/usr/bin/python3", "-I", os.path.join(HELPERS, "churn.py")], run.env(PYTHONHASHSEED="0"))


def python_venv(run):
    run.run("venv", ["/usr/bin/python3", "-c",
                     "import subprocess, sys, concurrent.futures as f\n"
                     "with f.ProcessPoolExecutor(2) as pool: print(sum(pool.map(abs, range(1000))))\n"
                     "with f.ThreadPoolExecutor(8) as pool: print(sum(pool.map(lambda n: len(bytes(n)), range(5000))))\n"
                     "print(subprocess.run(['sort', '-r'], input=b'a\\nb\\nc\\n', stdout=-1).stdout)\n"],
            run.env(at_exit=True))


def node(run):
    run.dialogue("run", ["node", os.path.join(HELPERS, "churn.js")])


def perl(run):
    run.dialogue("run", ["perl", os.path.join(HELPERS, "churn.pl")], run.env(PERL_HASH_SEED="0"))


def node_workers(run):
    run.run("run", ["node", os.path.join(HELPERS, "workers.js")], run.env(at_exit=True))


def ruby(run):
    run.run("run", ["ruby", os.path.join(HELPERS, "churn.rb")], run.env(at_exit=True))


def java_classes(run, source="Churn.java"):
    classes = os.path.join(run.work, "classes")
    subprocess.run(["javac", "-d", classes, os.path.join(HELPERS, source)], check=True,
                   env={"PATH": "/usr/bin:/bin"})
    return classes


def java(run):
    run.dialogue("run", ["java", "-Xmx256m", "-cp", java_classes(run), "Churn"])


def java_flight(run):
    run.dialogue("run", ["java", "-Xmx256m", "-Xlog:disable", "-Xlog:all=error:stderr",
                         "-XX:+UseG1GC", "-XX:StartFlightRecording=settings=profile,filename=flight.jfr", "-cp",
                         java_classes(run), "Churn"])
    found = subprocess.run(["jfr", "summary", "flight.jfr"], cwd=run.work, capture_output=True).stdout
    run.say("recording", b"jdk.ExecutionSample" in found)


def java_processes(run):
    run.run("run", ["java", "-Xmx256m", "-XX:NativeMemoryTracking=summary", "-cp", java_classes(run, "Processes.java"),
                    "Processes"], run.env(at_exit=True))
