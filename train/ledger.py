"""Proof, while a run goes on, that all ranks together fed the rows that the order says.

The leader collects the keys that every rank read from its records, computes the rows of the batch
anew from the running position, looks up their keys in the examples, and compares the hashes. What
was compared stays in `ledger.jsonl`: step, epoch, position, and the digest, which does not depend
on the number of ranks.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.config.errors import LimbeckError
from limbeck.ranks import World
from limbeck.runs import truncate_metrics
from train.stream import RankBatch, Source

__all__ = ["Ledger", "audit", "keys_digest", "ledger_line"]


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
        expected = keys_digest(self._source.corpora.keys(whole.rows))
        fed = hashlib.sha256(b"".join(gathered)).hexdigest()
        if fed != expected:
            raise LimbeckError(
                f"step {step}: the ranks fed other rows than the order says for position "
                f"{batch.position}; do all of them read the same {self._source.corpora.directories}"
                "?"
            )
        line = ledger_line(self._source, batch.position, step=step, digest=fed)
        with open(self._path, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def ledger_line(source: Source, position: int, *, step: int, digest: str) -> dict[str, Any]:
    """What the ledger says of one step; equal for every number of ranks."""
    return {
        "step": step,
        "epoch": source.order.epoch_of(position),
        "position": position,
        "rows": len(source.global_rows(position).rows),
        "digest": digest,
    }


def audit(path: Path, source: Source) -> int:
    """Goes through a finished ledger: was every row fed when it was due, and once?

    Each line's digest is computed anew from the order and the indexes. Where lines are of steps
    that follow each other, each must start where the one before ended.

    Returns:
      How many steps were proved.

    Raises:
      LimbeckError: naming the first line that differs.
    """
    last: dict[str, Any] | None = None
    lines = path.read_bytes().splitlines()
    for number, text in enumerate(lines, 1):
        line = json.loads(text)
        batch = dataclasses.replace(source, global_batch=line["rows"]).global_rows(line["position"])
        digest = keys_digest(source.corpora.keys(batch.rows))
        if digest != line["digest"]:
            raise LimbeckError(
                f"{path}: line {number} (step {line['step']}): the rows that were fed are not "
                f"those of position {line['position']}"
            )
        if last is not None and line["step"] == last["step"] + 1:
            due = last["position"] + last["rows"]
            if line["position"] != due:
                raise LimbeckError(
                    f"{path}: line {number} (step {line['step']}): starts at position "
                    f"{line['position']}; rows from {due} on were due"
                )
        last = line
    return len(lines)
