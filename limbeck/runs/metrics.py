"""The metrics of a run: JSON lines first, TensorBoard from the same call.

A line is one object: `step`, `wall_time` (seconds since 1970), `config` (hash of the run's
settings), then values by name. A value that is not finite is the text "nan", "inf" or "-inf",
since JSON has no such numbers and a diverging loss must still be on record; `float()` reads it.

A resumed run first drops the lines of the steps that it is about to do again, so that its file
ends like that of a run that was never interrupted, apart from times. For this all lines of a step
must be written, and `sync` called, before the step's checkpoint is.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_file
from limbeck.runs.directory import RunDirectory
from limbeck.runs.events import EventFile
from limbeck.runs.names import metric

__all__ = ["MetricsLog", "read_metrics", "truncate_metrics"]


class MetricsLog:
    """Appends to a run's metrics; one process of a run, the leader, has one."""

    def __init__(self, run: RunDirectory, *, resumed_step: int | None = None) -> None:
        """Opens the log.

        Args:
          run: a directory that `take` was called on.
          resumed_step: last step that the loaded checkpoint contains; later lines are dropped.
            None for a run that starts from nothing, which drops all.
        """
        truncate_metrics(run.metrics_file, last_step=-1 if resumed_step is None else resumed_step)
        self._config = run.config_hash
        self._file = open(run.metrics_file, "ab")  # noqa: SIM115 - closed by `close`
        first_step = 0 if resumed_step is None else resumed_step + 1
        self._events = EventFile(run.tensorboard, first_step=first_step)

    def write(self, *, step: int, **values: float) -> None:
        """Writes one line and the same scalars for TensorBoard.

        Args:
          step: steps done so far.
          values: by name, such as `**{"train/loss": 2.3}`; NumPy scalars will do.

        Raises:
          ValueError: a name that `limbeck.runs.names` does not have.
        """
        for name in values:
            metric(name)
        numbers = {name: float(value) for name, value in values.items()}
        now = time.time()
        line = {"step": int(step), "wall_time": round(now, 3), "config": self._config}
        kept = {name: _json_number(value) for name, value in numbers.items()}
        # One write of whole lines: a kill can tear only the last one, which `truncate` drops.
        self._file.write(json.dumps({**line, **kept}, allow_nan=False).encode("utf-8") + b"\n")
        self._file.flush()
        self._events.write(now, step=int(step), values=numbers)

    def sync(self) -> None:
        """Puts what was written on the disk itself; call before a checkpoint is made."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes both files; harmless twice."""
        self._file.close()
        self._events.close()

    def __enter__(self) -> "MetricsLog":
        """Returns the log itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes the log."""
        self.close()


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a metrics file; a torn last line, the mark of a kill, is left out.

    Raises:
      LimbeckError: another line is not an object with a step.
    """
    for _, line in _lines(path):
        yield line


def truncate_metrics(path: Path, *, last_step: int) -> int:
    """Drops the lines of steps after `last_step`, and a torn last line; returns how many.

    The file is replaced as a whole, and only if there is something to drop.
    """
    if not path.exists():
        return 0
    kept, dropped, whole_bytes = [], 0, 0
    for raw, line in _lines(path):
        whole_bytes += len(raw)
        if line["step"] <= last_step:
            kept.append(raw)
        else:
            dropped += 1
    dropped += whole_bytes < path.stat().st_size  # the torn line
    if dropped:
        with atomic_file(path) as file:
            file.writelines(kept)
    return dropped


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yields (bytes, object) of every whole line."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return
            try:
                line = json.loads(raw)
            except ValueError as error:
                raise LimbeckError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(line, dict) or type(line.get("step")) is not int:
                raise LimbeckError(f"{path}:{number}: not an object with a whole `step`")
            yield raw, line


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
