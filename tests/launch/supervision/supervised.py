"""Stands for a job in tests: `python supervised.py RUN WHAT ...`, one WHAT for each start.

Every start beats as the ranks of a training do, says who it is, and then does what stands for it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

RUN = Path(sys.argv[1])
LOST = """ORTE has lost communication with a remote daemon.

  HNP daemon   : [[17183,0],0] on node node1
  Remote daemon: [[17183,0],1] on node node2
"""


def beat(step, *, rank=0, beats=None, pid=None):
    """As `limbeck.runs.Heartbeat`, which would take long to import."""
    directory = RUN / "heartbeat"
    directory.mkdir(parents=True, exist_ok=True)
    values = {"rank": rank, "beats": beats or step, "alive": time.monotonic(), "step": step}
    values |= {"host": socket.gethostname(), "pid": pid or os.getpid()}
    temporary = directory / f"new-{rank}"
    temporary.write_text(json.dumps(values))
    temporary.replace(directory / f"rank-{rank:05d}.json")


def save(step):
    (RUN / "checkpoints").mkdir(parents=True, exist_ok=True)
    (RUN / "checkpoints" / f"step-{step:08d}.safetensors").touch()


def saving(number, frame):
    save(9)
    print("saved", flush=True)
    os._exit(143)


def stay():
    """Beats until something happens."""
    print("at work", flush=True)
    for step in range(10, 100_000):
        beat(step)
        time.sleep(0.02)


def do(what):
    if what == "done":
        print("all done", *sys.argv[2:], flush=True)
    elif what.startswith("saves_and_dies"):
        save(int(what.removeprefix("saves_and_dies")))
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "raises":
        raise KeyError("a bug")
    elif what == "loses_host":
        print(LOST, flush=True)
        sys.exit(205)
    elif what == "freezes":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif what == "never_beats":
        time.sleep(600)
    elif what == "saves_when_asked":
        signal.signal(signal.SIGTERM, saving)
        stay()
    elif what == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stay()
    elif what in ("leaves_orphan", "has_deaf_child"):
        text = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
        deaf = subprocess.Popen(
            [sys.executable, "-c", text] if what == "has_deaf_child" else ["sleep", "600"],
            start_new_session=True,
        )
        (RUN / "pids").write_text(f"{os.getpid()} {deaf.pid}")
        if what == "has_deaf_child":
            stay()


if __name__ == "__main__":
    RUN.mkdir(exist_ok=True)
    with open(RUN / "starts", "a+") as starts:
        starts.write(f"{os.getpid()}\n")
        starts.flush()
        starts.seek(0)
        number = len(starts.readlines())
    now = sys.argv[1 + number]
    if now != "never_beats":
        beat(number)
    do(now)
