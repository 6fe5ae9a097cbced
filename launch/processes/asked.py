"""Signals to a supervising process, as a request to stop."""

import signal
import time
from types import FrameType

__all__ = ["Asked"]

# Schedulers send SIGTERM, or SIGUSR1 some minutes before the time is over; a terminal SIGINT, and
# SIGHUP when it goes away.
REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
SLICE_S = 0.1


class Asked:
    """Counts requests to stop instead of dying of them, inside a `with` block."""

    def __init__(self) -> None:
        self.times = 0
        """How often."""
        self.first = signal.SIGTERM
        """The signal of the first request."""
        self._known = 0
        self._previous: dict[signal.Signals, object] = {}

    @property
    def exit_code(self) -> int:
        """130 for an interruption from the keyboard, else 143."""
        return 128 + (signal.SIGINT if self.first == signal.SIGINT else signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Sleeps; a request that came since the last call ended, or comes now, ends it.

        In slices: an Event or a lock must not be touched by a handler of signals.
        """
        deadline = time.monotonic() + seconds
        while self.times == self._known and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
        self._known = self.times

    def __enter__(self) -> "Asked":
        """Takes the signals over."""
        for number in REQUESTS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` has it for SIGHUP
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        """Gives the signals back."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.times:
            self.first = signal.Signals(number)
        self.times += 1
