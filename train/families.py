"""Examples and label families, opened and checked to belong together. No TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import Signal, SparseSignal, from_dict
from limbeck.records.dataset import Dataset, check_rows_match, open_dataset
from limbeck.records.examples import refuse_unmasked
from limbeck.records.keys import input_digest
from train.batch import FamilyArrays, Group

__all__ = ["Family", "check_rows", "open_examples", "open_family"]

CHECKED_ROWS = 8  # whose digests are compared before the first step; each later row is as it comes


@dataclass(frozen=True, kw_only=True)
class Family:
    """One opened label family."""

    name: str
    """As the recipe's terms call it."""

    dataset: Dataset
    """Row for row beside the examples."""

    signal: Signal
    """What it holds."""

    @property
    def group(self) -> Group:
        """Which positions its entries belong to."""
        return self.signal.positions

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that losses read."""
        if isinstance(self.signal, SparseSignal):
            return ("ids", "logits", "log_tail")
        return ("states",)

    @property
    def hidden_dim(self) -> int:
        """Width of a hidden family."""
        return self.dataset.layout.field("states").shape[-1] or 0

    def arrays(self, rows: Mapping[str, np.ndarray]) -> FamilyArrays:
        """The part of what was read that the losses need."""
        return FamilyArrays(group=self.group, fields={name: rows[name] for name in self.fields})


def open_examples(directory: str) -> Dataset:
    """Opens examples.

    Raises:
      LimbeckError: nothing usable there, or no rows.
    """
    dataset = open_dataset(directory, kind="examples")
    if not dataset.num_rows:
        raise UsageError(f"{directory}: the examples have 0 rows")
    refuse_unmasked(dataset.layout, examples=directory, who="training")
    return dataset


def open_family(name: str, directory: str, examples: Dataset, *, vocab_size: int) -> Family:
    """Opens one family and checks that it was made from these very examples.

    Raises:
      LimbeckError: not a label family, of other examples, or of another vocabulary.
    """
    dataset = open_dataset(directory, kind="labels")
    where = f"labels {name!r} ({directory})"
    check_rows_match(examples, dataset)
    settings = dataset.content.settings.get("signal")
    if not isinstance(settings, Mapping):
        raise UsageError(f"{where}: the manifest does not say which signal they hold")
    family = Family(name=name, dataset=dataset, signal=from_dict(settings, where=where))
    theirs = (dataset.content.teacher or {}).get("vocab_size", vocab_size)
    if isinstance(family.signal, SparseSignal) and theirs != vocab_size:
        raise UsageError(
            f"{where}: the teacher's vocabulary has {theirs} ids and the student's {vocab_size}"
        )
    sample = np.arange(min(CHECKED_ROWS, examples.num_rows), dtype=np.int64)
    check_rows(examples.read(sample), {name: dataset.read(sample)}, {name: family}, sample)
    return family


def check_rows(
    examples: Mapping[str, np.ndarray],
    labels: Mapping[str, Mapping[str, np.ndarray]],
    families: Mapping[str, Family],
    rows: np.ndarray,
) -> None:
    """Refuses labels that do not belong to the input beside them.

    Args:
      examples: fields of the examples, (n, ...).
      labels: family -> its fields for the same rows.
      families: the opened families.
      rows: (n,) row numbers, for messages.

    Raises:
      LimbeckError: another key, another digest, or another number of positions; names the row.
    """
    digests: dict[bool, np.ndarray] = {}
    for name, fields in labels.items():
        family = families[name]
        covers = family.signal.digest_covers_positions
        if covers not in digests:
            digests[covers] = _digests(examples, with_positions=covers)
        counted = {
            "masked": examples["num_masked"],
            "all": examples["num_tokens"],
            "first": np.ones(len(rows), np.int64),
        }[family.group]
        for what, theirs, ours in (
            ("key", fields["key"], examples["key"]),
            ("digest", fields["digest"], digests[covers]),
            ("number of positions", fields["num_positions"], counted),
        ):
            differs = theirs != ours
            bad = differs.any(axis=-1) if differs.ndim > 1 else differs
            if bad.any():
                row = int(rows[int(np.argmax(bad))])
                raise LimbeckError(
                    f"{family.dataset.directory}: row {row} has another {what} than the example "
                    "beside it: these labels belong to another input (another masking, say); "
                    "extract them again"
                )


def _digests(examples: Mapping[str, np.ndarray], *, with_positions: bool) -> np.ndarray:
    positions = (
        {"positions": examples["mask_positions"], "num_positions": examples["num_masked"]}
        if with_positions
        else {}
    )
    return input_digest(
        examples["ids"], examples["num_tokens"], examples["segment_split"], **positions
    )
