"""Proof, while a run goes on, that all ranks together fed the rows that the order says.

The leader collects the keys that every rank read from its records, computes the rows of the batch
anew from the running position, looks up their keys in the examples, and compares the hashes. What
was compared stays in `ledger.jsonl`: step, epoch, position, and the digest, which does not depend
on the number of ranks.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from limbeck import ranks
from limbeck.config.errors import LimbeckError
from limbeck.ranks import World
from limbeck.runs import truncate_metrics
from train.stream import RankBatch, Source

__all__ = ["Ledger", "keys_digest"]


def keys_digest(keys: np.ndarray) -> str:
    """Hex SHA-256 of keys (B, 16) uint8, in the order of the batch."""
    return hashlib.sha256(np.ascontiguousarray(keys).tobytes()).hexdigest()


class Ledger:
    """The proofs of a run; every rank has one, the leader's writes the file.

    Args:
      path: `ledger.jsonl` of the run.
      source: the run's batches.
      world: this rank's place.
      last_step: step of the loaded checkpoint; later lines are dropped. -1 for a new run.
    """

    def __init__(self, path: Path, source: Source, world: World, *, last_step: int) -> None:
        self._path = path
        self._source = source
        self._world = world
        if world.is_leader:
            truncate_metrics(path, last_step=last_step)

    def verify(self, batch: RankBatch, *, step: int) -> None:
        """Compares what all ranks fed at `step` with the order; a collective.

        Raises:
          LimbeckError: on the leader, when they differ.
        """
        gathered = ranks.gather_bytes(batch.keys.tobytes())
        if not self._world.is_leader:
            return
        whole = self._source.global_rows(batch.position)
        expected = keys_digest(self._source.examples.keys(whole.rows))
        fed = hashlib.sha256(b"".join(gathered)).hexdigest()
        if fed != expected:
            raise LimbeckError(
                f"step {step}: the ranks fed other rows than the order says for position "
                f"{batch.position}; do all of them read the same {self._source.examples.directory}"
                "?"
            )
        line = {
            "step": step,
            "epoch": int(whole.epochs[0]),
            "position": batch.position,
            "rows": len(whole.rows),
            "digest": fed,
        }
        with open(self._path, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
