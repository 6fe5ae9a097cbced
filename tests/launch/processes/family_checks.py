"""Run by test_processes.py in a process of its own, which takes orphans over. Prints JSON."""

import json
import os
import signal
import subprocess
import sys
import time

from launch.processes.family import Family, run_passing_on
from launch.processes.table import Process, read_process, send
from limbeck.config.errors import UsageError

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"


def gone(pid):
    process = read_process(pid)
    return process is None or not process.is_there


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def deaf_orphan():
    """A grandchild in a session of its own, whose parent has gone, and that ignores SIGTERM."""
    text = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]],"
        " start_new_session=True, stdout=subprocess.DEVNULL); print(p.pid, flush=True)"
    )
    family = Family([sys.executable, "-c", text, DEAF], stdout=subprocess.PIPE)
    with family.process.stdout as output:
        pid = int(output.readline())
    wait_for(lambda: family.poll() is not None)
    seen = [process.pid for process in family.look()]
    left = family.end(wait_s=0.2)
    return {"seen": seen == [pid], "gone": gone(pid), "left": left}


def stopped():
    """A process that is frozen: no wait for what it cannot hear."""
    family = Family([sys.executable, "-c", "import time; time.sleep(600)"])
    os.kill(family.process.pid, signal.SIGSTOP)
    wait_for(lambda: read_process(family.process.pid).state == "T")
    started = time.monotonic()
    left = family.end(wait_s=30)
    code, soon = family.poll(), time.monotonic() - started < 15
    return {"code": code, "soon": soon, "left": left}


def codes():
    """Exit codes as shells count."""
    texts = ("pass", "raise SystemExit(7)", "import os; os.kill(os.getpid(), 9)")
    return [run_passing_on([sys.executable, "-c", text]) for text in texts]


def others():
    """A child that is not of the family stays."""
    mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    run_passing_on(["true"])
    there = not gone(mine.pid)
    mine.kill()
    mine.wait()
    return there


def same_number():
    """A signal goes to the process that was meant, or to none."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    real = read_process(child.pid)
    other = Process(**{**vars(real), "started": real.started - 1})
    answers = [send(other, signal.SIGKILL), gone(child.pid), send(real, signal.SIGKILL)]
    child.wait()
    return [*answers, send(real, signal.SIGKILL)]


def no_program():
    """A command that is not there."""
    try:
        Family(["no-such-program-here"])
    except UsageError as error:
        return str(error)


if __name__ == "__main__":
    checks = (deaf_orphan, stopped, codes, others, same_number, no_program)
    print(json.dumps({check.__name__: check() for check in checks}))
