"""Whether a job gets on, by the heartbeat files of its ranks.

Ranks of a training wait for each other at every step, so one that is frozen stops all of them; a
job stands still when no rank's work has moved for the time-out. The culprit is then the rank whose
process does not even write its file any more; where all still do, nobody can tell from outside.
"""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.processes.family import state_of
from limbeck.config.errors import LimbeckError
from limbeck.runs import read_heartbeats

__all__ = ["Standstill", "Watch"]

# Of files; a rank writes its own every 5 s (`limbeck.runs.heartbeat`).
SILENT_S = 12.0
_PLACES = ("heartbeat", "stages/*/heartbeat", "metrics")  # of a run, its stages, an extraction


@dataclass(frozen=True, kw_only=True)
class Standstill:
    """A job that does not get on."""

    reason: str
    """In one line: which ranks, hosts and steps, and for how long."""

    rank: int | None = None
    """The culprit, if it is known."""

    host: str = ""
    """Its host."""


@dataclass
class _Seen:
    """A rank's file, as it was last."""

    beat: dict[str, Any]
    moved_at: float
    """When its work was last seen to move, by our clock."""
    alive_at: float = field(default=0.0)
    """When its file last changed."""

    @property
    def name(self) -> str:
        beat = self.beat
        return f"rank {beat['rank']} on {beat.get('host')} after step {beat.get('step')}"

    @property
    def state(self) -> str:
        """What its process does, where it is on this machine."""
        here = self.beat.get("host") == socket.gethostname()
        return state_of(int(self.beat["pid"])) if here and "pid" in self.beat else ""


class Watch:
    """Looks at the heartbeats of one attempt. Files that an earlier one left do not count.

    Args:
      run_dir: the run's directory, or an extraction's output.
      progress_timeout_s: longest time without progress once a rank has beaten.
      start_timeout_s: longest time before the first beat, between stages, and to leave at the end.
      clock: seconds; monotonic.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        progress_timeout_s: float,
        start_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_dir = run_dir
        self._progress_timeout_s = progress_timeout_s
        self._start_timeout_s = start_timeout_s
        self._clock = clock
        self._before = dict(self._read())
        self._started_at = clock()
        self._seen: dict[tuple[Path, int], _Seen] = {}

    def look(self) -> Standstill | None:
        """Reads the files; says so where the job stands still."""
        now = self._clock()
        for key, beat in self._read():
            seen = self._seen.get(key)
            if seen is None and beat != self._before.get(key):
                self._seen[key] = _Seen(beat, now, now)
            elif seen is not None and beat != seen.beat:
                moved = any(beat.get(name) != seen.beat.get(name) for name in ("beats", "pid"))
                self._seen[key] = _Seen(beat, now if moved else seen.moved_at, now)
        return self._judged(now)

    @property
    def step(self) -> int | None:
        """The furthest that any rank was seen at; None before the first beat."""
        steps = [int(seen.beat.get("step", 0)) for seen in self._seen.values()]
        return max(steps, default=None)

    @property
    def ranks(self) -> dict[int, str]:
        """The hosts of all ranks that have beaten."""
        beats = (seen.beat for seen in self._seen.values())
        return {int(beat["rank"]): str(beat.get("host", "")) for beat in beats}

    @property
    def pids(self) -> list[int]:
        """Process numbers of the ranks on this machine."""
        host = socket.gethostname()
        beats = (seen.beat for seen in self._seen.values())
        return [int(beat["pid"]) for beat in beats if beat.get("host") == host and "pid" in beat]

    def _judged(self, now: float) -> Standstill | None:
        at_work = [seen for seen in self._seen.values() if not seen.beat.get("ended")]
        moved_at = max((seen.moved_at for seen in self._seen.values()), default=self._started_at)
        stands_s = now - moved_at
        if not at_work and stands_s > self._start_timeout_s:
            what = "no rank is at work any more" if self._seen else "no heartbeat of any rank"
            return Standstill(reason=f"{what}, for {stands_s:.0f} s (--start-timeout)")
        if at_work and stands_s > self._progress_timeout_s:
            return self._standstill(at_work, now, stands_s)
        return None

    def _standstill(self, at_work: list[_Seen], now: float, stands_s: float) -> Standstill:
        limit = f"no progress for {stands_s:.0f} s (--progress-timeout)"
        silent = [seen for seen in at_work if now - seen.alive_at > SILENT_S or seen.state]
        if not silent:
            steps = ", ".join(seen.name for seen in at_work)
            return Standstill(reason=f"{limit}; all processes live, waiting or looping: {steps}")
        silent.sort(key=lambda seen: (not seen.state, seen.alive_at))
        names = "; ".join(
            f"{seen.name} is frozen" + (f" ({seen.state})" if seen.state else "") for seen in silent
        )
        first = silent[0].beat
        return Standstill(
            reason=f"{limit}: {names}", rank=int(first["rank"]), host=str(first.get("host", ""))
        )

    def _read(self) -> Iterator[tuple[tuple[Path, int], dict[str, Any]]]:
        for place in _PLACES:
            for directory in self._run_dir.glob(place):
                try:
                    found = read_heartbeats(directory)
                except (LimbeckError, OSError):
                    continue  # of a file system that stutters: it counts as not changed
                for rank, beat in found.items():
                    yield (directory, rank), dict(beat)
