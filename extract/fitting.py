"""What codecs settle before the first shard: from the first positions of the examples, once.

What an earlier call, or another worker, has settled for a family is taken from its directory, so
that a machine whose arithmetic differs in the last bit goes on with the same basis and scales.
"""

# M positions of the sample

import dataclasses
import hashlib
import os
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from extract.window_labels import flat_labels
from extract.windows import Window, Windows
from limbeck.config.errors import UsageError
from limbeck.labels import codecs
from limbeck.labels.family import TENSORS
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import Signal, to_dict
from limbeck.records.canonical import plain
from limbeck.records.resume import job_there
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.questions import position_counts, question_of

__all__ = ["fit_families", "settled_before"]


def settled_before(directory: str, signal: Signal) -> Fitted | None:
    """What stands in a family's directory that was begun with the same signal; None if nothing.

    Raises:
      UsageError: its files are damaged.
    """
    there = job_there(directory) if os.path.isdir(directory) else None
    settings = (there or {}).get("settings") or {}
    if there is None or settings.get("signal") != plain(to_dict(signal), "signal"):
        return None
    tensors: Mapping[str, np.ndarray] = {}
    described = (there.get("attachments") or {}).get(TENSORS)
    if described is not None:
        path = os.path.join(directory, TENSORS)
        if not os.path.exists(path):
            return None  # killed before it was written: settled again
        with open(path, "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise UsageError(f"{path}: is not what was written; delete {directory}")
        try:
            tensors = load_tensors(data)
        except SafetensorError as error:
            raise UsageError(f"{path}: not a file of tensors: {error}") from error
    return Fitted(signal=signal, chosen=settings.get("chosen") or {}, tensors=tensors)


def fit_families(
    signals: Mapping[str, Signal], *, teacher: Teacher, windows: Windows
) -> tuple[dict[str, Fitted], list[str]]:
    """Settles the codecs of families, one after another, from the examples' first positions.

    Args:
      signals: family name -> signal.
      teacher: what answers.
      windows: how examples are read; the batches of the sample are planned as those of the job.

    Returns:
      Family name -> what was settled, and lines for the report.

    Raises:
      UsageError: a codec that was asked for by name does not pass its gate; names the family.
    """
    fitted, lines = {}, []
    for name, signal in signals.items():
        raw = _sample(name, signal, teacher, windows)
        try:
            fitted[name], said = codecs.fit(signal, raw, side=teacher.side(signal))
        except UsageError as error:
            raise UsageError(f"families.{name}: {error}") from error
        lines += [f"{name}: {line}" for line in said]
    return fitted, lines


def _sample(
    name: str, signal: Signal, teacher: Teacher, windows: Windows
) -> Mapping[str, np.ndarray]:
    """Raw arrays (M, ...) at the first positions of the records that the family labels."""
    wanted = codecs.sample_positions(signal)
    question = question_of([signal], predicts=windows.question.predicts, seed=windows.question.seed)
    sampling = dataclasses.replace(windows, question=question, fraction=signal.records)
    parts: list[Mapping[str, np.ndarray]] = []
    have = 0
    for shard, number in sampling.all():
        if have >= wanted:
            break
        window = _first_rows(sampling, shard, number, wanted - have)
        answers = [teacher.raw(batch.inputs, {name: signal}) for batch in window.batches]
        labels = flat_labels(
            name, signal, window, answers, asked=signal.records, seed=question.seed
        )
        parts.append(labels.arrays)
        have += int(labels.counts.sum())
    parts = [part for part in parts if part]
    return (
        {n: np.concatenate([part[n] for part in parts])[:wanted] for n in parts[0]} if parts else {}
    )


def _first_rows(sampling: Windows, shard: int, number: int, positions: int) -> Window:
    """A window, of no more rows than hold these positions."""
    (group,) = sampling.question.fractions
    rows, shard_rows = sampling.rows(shard, number)
    counts = np.cumsum(position_counts(group, rows))
    enough = int(np.searchsorted(counts, positions)) + 1
    rows = {field: values[:enough] for field, values in rows.items()}
    return Window(
        shard=shard,
        number=number,
        is_last=False,
        rows=rows,
        shard_rows=shard_rows[:enough],
        batches=tuple(sampling.make(rows, plan) for plan in sampling.plan(rows["num_tokens"])),
    )
