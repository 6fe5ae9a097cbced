"""Runs a function that may hang or eat all memory, on many items, in a process of its own.

Parsing wikitext can take for ever or tens of gigabytes for one page, inside C code that no signal
handler or thread can stop. So a worker process (spawned, never forked) does it, one item after the
other, while this side watches the clock and the worker's resident memory. An item that goes beyond
a limit is given up with its reason, and a fresh worker goes on with the next.

Items travel as lines of JSON over pipes, a few ahead of the one in work, so that the worker never
waits for us: the cost over a plain call is some 100 microseconds an item, most of it on this side.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import psutil

from limbeck.config.errors import LimbeckError

__all__ = ["Guard", "Limits", "Verdict"]

Reason = Literal["", "timeout", "memory", "crashed", "failed"]

# Sent before the first result is back: enough that the worker never waits for us.
_AHEAD_ITEMS = 16
_AHEAD_BYTES = 1 << 20
_POLL_S = 0.05  # how often memory is looked at
_START_S = 300.0  # a worker imports its libraries within seconds, also on a busy machine
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one item may use."""

    seconds: float = 60.0
    """Wall-clock time."""
    megabytes: int = 1024
    """Resident memory of the worker process, its libraries included."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"the time limit is {self.seconds} s; it must be above 0")
        if self.megabytes < 128:
            raise ValueError(f"the memory limit is {self.megabytes} MB; it must be at least 128")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of one item, or why there is none."""

    value: Any = None
    """What the function returned; None when there is a reason."""
    reason: Reason = ""
    """Empty for a result."""
    detail: str = ""
    """More about the reason."""


class Guard:
    """A worker process for one function, and the watch over it. For one thread at a time."""

    def __init__(self, function: str, *, limits: Limits) -> None:
        """Starts nothing yet.

        Args:
          function: `module:name` of a function from one JSON value to another.
          limits: bounds for each item.
        """
        self._function = function
        self._limits = limits
        self._worker: subprocess.Popen[bytes] | None = None
        self._unsent: deque[memoryview] = deque()
        self._received = b""

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker process; the next `map` would start another."""
        worker, self._worker = self._worker, None
        self._unsent.clear()
        self._received = b""
        if worker is not None:
            assert worker.stdin is not None and worker.stdout is not None
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()

    def map(self, items: Iterable[Any]) -> Iterator[Verdict]:
        """Yields one verdict an item, in order.

        Raises:
          LimbeckError: the worker process cannot be started.
        """
        source = iter(items)
        sent: deque[bytes] = deque()  # the first is in work
        num_bytes = 0  # of those
        more = True
        try:
            while more or sent:
                while more and len(sent) < _AHEAD_ITEMS and num_bytes < _AHEAD_BYTES:
                    item = next(source, _END)
                    more = item is not _END
                    if more:
                        sent.append(json.dumps(item).encode() + b"\n")
                        num_bytes += len(sent[-1])
                        self._send(sent[-1])
                if sent:
                    verdict = self._verdict(sent)
                    num_bytes -= len(sent.popleft())
                    yield verdict
        finally:
            if sent:  # given up half-way: what is under way would answer the next call's items
                self.close()

    def _verdict(self, sent: deque[bytes]) -> Verdict:
        """Waits for the first item sent; restarts the worker where it must."""
        first, *others = sent
        verdict = self._answer()
        if verdict.reason in ("", "failed"):
            return verdict
        self.close()
        if verdict.reason != "timeout":
            # What earlier pages left behind in the worker must not decide: once more, alone.
            self._send(first)
            verdict = self._answer()
            if verdict.reason not in ("", "failed"):
                self.close()
        for line in others:
            self._send(line)
        return verdict

    def _send(self, line: bytes) -> None:
        if self._worker is None:
            self._start()
        self._unsent.append(memoryview(line))
        if len(self._unsent) == 1:
            self._flush()

    def _answer(self) -> Verdict:
        """Waits for the next line of the worker, or for a limit."""
        worker = self._worker
        assert worker is not None
        now = time.monotonic()
        deadline, look = now + self._limits.seconds, now + _POLL_S
        while True:
            line = self._exchange(_POLL_S)
            if line is not None:
                return Verdict(**json.loads(line))
            if (now := time.monotonic()) < look:
                continue
            look = now + _POLL_S
            if worker.poll() is not None:
                return self._death(worker.returncode)
            if now > deadline:
                return Verdict(reason="timeout", detail=f"over {self._limits.seconds:g} s")
            if _resident_bytes(worker.pid) > self._limits.megabytes << 20:
                return Verdict(reason="memory", detail=f"over {self._limits.megabytes} MB")

    def _death(self, code: int) -> Verdict:
        if code == -signal.SIGALRM:
            return Verdict(reason="timeout", detail=f"over {self._limits.seconds:g} s")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Verdict(reason="crashed", detail=f"the worker process ended with {name}")

    def _exchange(self, timeout_s: float) -> bytes | None:
        """Sends and receives what goes without waiting; returns a line once there is one."""
        worker = self._worker
        assert worker is not None and worker.stdin is not None and worker.stdout is not None
        if b"\n" not in self._received:
            poll = select.poll()
            poll.register(worker.stdout, select.POLLIN)
            if self._unsent:
                poll.register(worker.stdin, select.POLLOUT)
            ready = {descriptor for descriptor, _ in poll.poll(1000 * timeout_s)}
            if worker.stdout.fileno() in ready:
                self._receive(worker.stdout.fileno())
            if worker.stdin.fileno() in ready:
                self._flush()
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        self._received = rest
        return line

    def _receive(self, descriptor: int) -> None:
        data = os.read(descriptor, _READ_BYTES)
        if not data:  # it has closed its end: wait until its exit code is there
            time.sleep(_POLL_S / 10)
        self._received += data

    def _flush(self) -> None:
        """Writes what the pipe takes now."""
        assert self._worker is not None and self._worker.stdin is not None
        line = self._unsent[0]
        try:
            written = os.write(self._worker.stdin.fileno(), line)
        except BlockingIOError:
            return
        except BrokenPipeError:  # seen as its death by the caller
            written = len(line)
        if written < len(line):
            self._unsent[0] = line[written:]
        else:
            self._unsent.popleft()

    def _start(self) -> None:
        limits = self._limits
        command = [sys.executable, "-m", "prep.guard_worker", self._function]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p or "." for p in sys.path))
        self._worker = worker = subprocess.Popen(
            [*command, str(limits.seconds), str(limits.megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        assert worker.stdin is not None
        os.set_blocking(worker.stdin.fileno(), False)
        deadline = time.monotonic() + _START_S
        while self._exchange(_POLL_S) is None:
            if worker.poll() is not None or time.monotonic() > deadline:
                code = worker.poll()
                self.close()
                raise LimbeckError(
                    f"the worker process for {self._function} did not start (exit code {code}); "
                    "its error is above"
                )


_END = object()


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:  # its exit code says the rest
        return 0
