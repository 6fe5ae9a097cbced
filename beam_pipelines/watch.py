"""Runs a pipeline while watching its worker processes: a dead one must not mean waiting for ever.

Beam's local runner starts the workers from threads of its own. When a worker dies (out of memory,
say), such a thread ends with an exception, nobody looks at it, and the runner waits for an answer
that never comes. A worker that somebody stopped (SIGSTOP, a debugger) is as silent; after a while
it is taken for lost.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from limbeck.config.errors import LimbeckError

__all__ = ["run_watched"]

_POLL_S = 0.2
_LOOK_S = 5.0  # between looks at the state of the workers
STOPPED_S = 60.0  # a worker stopped for so long, as this process saw it, is lost
_NOTICE_S = 5.0
_WORKER = "beam_pipelines.worker"
_BEAM_THREAD = "run_worker"  # starts a worker process and waits for its end


def run_watched(run: Callable[[], None]) -> None:
    """Calls `run` in a thread and waits for it, as long as its worker processes live.

    Raises:
      LimbeckError: a worker process died, or is stopped for `STOPPED_S`; all are ended.
      BaseException: whatever `run` raised.
    """
    raised: list[BaseException] = []

    def call() -> None:
        try:
            run()
        except BaseException as error:  # handed on below
            raised.append(error)

    # A daemon: when a worker has died, this thread waits for ever and must not hold the process.
    thread = threading.Thread(target=call, name="pipeline", daemon=True)
    with _deaths() as deaths:
        try:
            thread.start()
            stopped = _Stopped()
            while thread.is_alive() and not deaths:
                thread.join(_POLL_S)
                deaths += stopped.look()
            if thread.is_alive():
                raise LimbeckError(
                    f"a worker process {deaths[0]}; finished shards are kept, so run the same "
                    "command again, with fewer --workers if memory ran out"
                )
        finally:
            if thread.is_alive():  # also after an interrupt
                _end_workers()
    if raised:
        raise raised[0]


class _Stopped:
    """Notices workers that are stopped.

    Only time between two looks counts: where the whole job was stopped and goes on, so was this.
    """

    def __init__(self) -> None:
        self._next = time.monotonic() + _LOOK_S
        self._seconds: dict[int, float] = {}

    def look(self) -> list[str]:
        """Returns what became of a worker that has been stopped for too long, if there is one."""
        now = time.monotonic()
        if now < self._next:
            return []
        self._next = now + _LOOK_S
        stopped = {worker.pid for worker in _workers() if _is_stopped(worker)}
        self._seconds = {pid: self._seconds.get(pid, 0.0) + _LOOK_S for pid in stopped}
        return [
            f"(process {pid}) has been stopped for {seconds:.0f} s, as by SIGSTOP"
            for pid, seconds in self._seconds.items()
            if seconds >= STOPPED_S
        ]


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        return False


def _workers() -> list[psutil.Process]:
    """Returns the worker processes that this process has started."""
    workers = []
    for child in psutil.Process().children():
        try:
            if child.cmdline()[-2:] == [_WORKER, str(os.getpid())]:
                workers.append(child)
        except psutil.NoSuchProcess:
            continue
    return workers


@contextmanager
def _deaths() -> Iterator[list[str]]:
    """Collects how workers died: Beam's threads that ended with an exception, and why."""
    deaths: list[str] = []
    usual = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is None or args.thread.name != _BEAM_THREAD:
            usual(args)
            return
        code = re.search(r"return code (-?\d+)", str(args.exc_value))
        deaths.append(_describe(int(code[1])) if code else f"could not run: {args.exc_value}")

    threading.excepthook = hook
    try:
        yield deaths
    finally:
        threading.excepthook = usual


def _describe(code: int) -> str:
    # A shell that ran the worker reports a signal as 128 + its number.
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(number).name}{hint}"
    return f"ended with exit code {code}"


def _end_workers() -> None:
    """Kills the worker processes that this process has started, and waits for Beam to notice."""
    for worker in _workers():
        try:
            worker.kill()
        except psutil.NoSuchProcess:
            continue
    for thread in threading.enumerate():
        if thread.name == _BEAM_THREAD:
            thread.join(_NOTICE_S)
