"""Damaged records that a run goes on without, and how many of them it puts up with.

A damaged row keeps its place in the order with weight 0, so no other row moves to another batch.
Each is written down in `quarantine.jsonl` of the run when it is fed, and the run ends once they
are more than a share of the rows fed so far.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.config.errors import LimbeckError
from limbeck.ranks import World
from limbeck.records.errors import CorruptRecord
from limbeck.runs import truncate_metrics

__all__ = ["BadRow", "Quarantine"]


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A record that is not the one that was written."""

    corpus: str
    """Name of its corpus; empty without a mixture."""
    key: str
    """Of the example, hex, as its index has it."""
    path: str
    """File of the damaged record: of the example or of one of its labels."""
    row: int
    """Row of the dataset that the file belongs to."""
    offset: int
    """Byte of the file where the record starts."""
    reason: str
    """What was expected and what was found."""

    @classmethod
    def of(cls, error: CorruptRecord, *, corpus: str, key: np.ndarray) -> "BadRow":
        """Takes the place from the reader's error."""
        return cls(
            corpus=corpus,
            key=key.tobytes().hex(),
            path=str(error.path),
            row=int(error.row),
            offset=int(error.offset),
            reason=error.reason,
        )


class Quarantine:
    """Counts the damaged rows of a run; every rank has one, the leader's writes the file.

    Args:
      path: `quarantine.jsonl` of the run.
      world: this rank's place.
      limit: largest share of the rows fed so far that may be damaged; one row always may.
      last_step: step of the loaded checkpoint; later lines are dropped. -1 for a new run.
    """

    def __init__(self, path: Path, world: World, *, limit: float, last_step: int) -> None:
        self._path = path
        self._world = world
        self._limit = limit
        self.num_rows = 0
        """Damaged rows fed so far; counted on the leader only."""
        if world.is_leader:
            truncate_metrics(path, last_step=last_step)
            if path.exists():
                self.num_rows = len(path.read_bytes().splitlines())

    def note(self, bad: tuple[BadRow, ...], *, step: int, rows_fed: int) -> int:
        """Counts what this rank left out of `step`; a collective.

        Args:
          bad: `RankBatch.bad`.
          step: the step that has been made.
          rows_fed: of the run so far, damaged ones included.

        Returns:
          Damaged rows in this step, over all ranks.

        Raises:
          LimbeckError: on the leader, when they are too many.
        """
        total = int(ranks.sum_vector(np.array([len(bad)], np.int64), name="quarantine")[0])
        if not total:
            return 0
        gathered = ranks.gather_bytes(json.dumps([asdict(row) for row in bad]).encode())
        if not self._world.is_leader:
            return total
        found: list[dict[str, Any]] = [row for text in gathered for row in json.loads(text)]
        with open(self._path, "ab") as file:
            for row in found:
                file.write(json.dumps({"step": step, **row}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.num_rows += total
        if self.num_rows > max(1.0, self._limit * rows_fed):
            last = found[-1]
            raise LimbeckError(
                f"step {step}: {self.num_rows} of {rows_fed} rows were damaged, more than "
                f"data.max_quarantined = {self._limit:g} allows; the last one is row {last['row']} "
                f"at byte {last['offset']} of {last['path']}: {last['reason']}; all of them are in "
                f"{self._path}; restore the files, or raise data.max_quarantined"
            )
        return total
