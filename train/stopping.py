"""SIGTERM or SIGUSR1 as a request: the run stops at the next step boundary, with a checkpoint.

Schedulers send SIGTERM to processes; mpirun leaves its ranks a second after that, but hands SIGUSR1
to all of them on all hosts and waits.
"""

import signal
import threading
from types import FrameType

__all__ = ["EXIT_STOPPED", "StopRequest"]

EXIT_STOPPED = 143  # 128 + SIGTERM, as shells count

_REQUESTS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Notes these signals instead of dying of them, inside a `with` block.

    Signals reach the main thread only, so elsewhere (a notebook's worker, say) nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        """Whether this process was asked to stop; the ranks agree on it by summing."""
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        """Takes the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _REQUESTS}
        return self

    def __exit__(self, *exc: object) -> None:
        """Gives the signals back."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # type: ignore[arg-type]
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
