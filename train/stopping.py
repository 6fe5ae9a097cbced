"""SIGTERM as a request: the run stops at the next step boundary, with a checkpoint."""

import signal
import threading
from types import FrameType

__all__ = ["EXIT_STOPPED", "StopRequest"]

EXIT_STOPPED = 143  # 128 + SIGTERM, as shells count


class StopRequest:
    """Notes SIGTERM instead of dying of it, inside a `with` block.

    Signals reach the main thread only, so elsewhere (a notebook's worker, say) nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        """Whether this process was asked to stop; the ranks agree on it by summing."""
        self._previous: object = None

    def __enter__(self) -> "StopRequest":
        """Takes the signal over."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        """Gives the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)  # type: ignore[arg-type]
            self._previous = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
