"""How often a job is started again, and how long after."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Restarts", "saved_steps"]

_CHECKPOINT = re.compile(r"step-(\d{8})\.safetensors")


@dataclass(kw_only=True)
class Restarts:
    """Counts the starts of one supervision."""

    limit: int
    """Restarts at most, over all."""

    idle_limit: int
    """Restarts at most in a row that saved nothing new."""

    back_off_s: float
    """Pause before the first restart; each further one without progress doubles it."""

    longest_s: float
    """What the pause does not grow beyond."""

    made: int = 0
    """Restarts so far."""

    idle: int = 0
    """Ends in a row that had saved nothing new."""

    def ended(self, *, progressed: bool) -> str:
        """Counts an end that asks for a restart; returns why there shall be none, or nothing."""
        self.idle = 0 if progressed else self.idle + 1
        if self.made >= self.limit:
            return f"after {self.made} restarts (--max-restarts)"
        if self.idle > self.idle_limit:
            return (
                f"a crash loop: {self.idle} ends in a row without a new checkpoint "
                "(--max-idle-restarts)"
            )
        self.made += 1
        return ""

    @property
    def pause_s(self) -> float:
        """Seconds to wait before the restart that was just granted."""
        return min(self.longest_s, self.back_off_s * 2.0 ** max(0, self.idle - 1))


def saved_steps(run_dir: Path) -> int | None:
    """Steps in the newest checkpoints of a run, of all its stages; None where nothing is saved."""
    directories = [run_dir / "checkpoints", *run_dir.glob("stages/*/checkpoints")]
    newest = [max(steps) for d in directories if d.is_dir() and (steps := _steps(d))]
    return sum(newest) if newest else None


def _steps(directory: Path) -> list[int]:
    matches = (_CHECKPOINT.fullmatch(path.name) for path in directory.iterdir())
    return [int(match[1]) for match in matches if match]
