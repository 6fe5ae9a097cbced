"""Examples and label families, opened and checked to belong together. No TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import codecs
from limbeck.labels.family import read_fitted
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import Group, Signal, SparseSignal
from limbeck.labels.sparse import head_logits, sampled_targets
from limbeck.records.dataset import Dataset, check_rows_match, open_dataset
from limbeck.records.keys import input_digest
from limbeck.records.remote import is_remote, open_remote
from train.reading.batch import FamilyArrays, list_name
from train.starting.attention_facts import AttentionFacts, stored_facts

__all__ = ["Family", "check_rows", "decoded", "open_examples", "open_family"]

SEARCHED_ROWS = 4096  # among which a partial family is looked for
HEAD_FIELDS = ("ids", "logits", "log_tail")  # of a sparse family, what losses read
CHECKED_ROWS = 8  # whose digests are compared before the first step; each later row is as it comes


@dataclass(frozen=True, kw_only=True)
class Family:
    """One opened label family."""

    name: str
    """As the recipe's terms call it."""

    dataset: Dataset
    """Row for row beside the examples."""

    fitted: Fitted
    """What it holds, and how it is encoded."""

    is_partial: bool = False
    """Whether it labels some rows only, here or in another corpus of the mixture."""

    @property
    def signal(self) -> Signal:
        """What it holds."""
        return self.fitted.signal

    @property
    def group(self) -> Group:
        """Which positions its entries belong to."""
        return self.signal.positions

    @property
    def list_name(self) -> str:
        """Which list of a batch its entries stand in; see `train.reading.batch`."""
        return list_name(self.group, self.name if self.is_partial else None)

    @property
    def hidden_dim(self) -> int:
        """Width of a hidden family's states, as they are decoded."""
        if "basis" in self.fitted.tensors:
            return int(self.fitted.tensors["basis"].shape[1])
        return self.dataset.layout.field("states").shape[-1] or 0

    @property
    def num_logits(self) -> int:
        """Ids that a final family's decoder predicts."""
        return len(self.fitted.tensors["decoder/kernel"])

    @property
    def num_labels(self) -> int:
        """Outputs of the task head that a task family holds the logits of."""
        return self.dataset.layout.field("logits").shape[-1] or 0

    @property
    def attention(self) -> AttentionFacts:
        """How the layer of a relations, qkv or attention family attends."""
        return stored_facts(self.fitted, self.dataset.layout)

    def arrays(self, rows: Mapping[str, np.ndarray]) -> FamilyArrays:
        """What the losses need of the rows that were read: decoded, at flat positions."""
        arrays, _ = codecs.from_records(self.fitted, rows)
        return FamilyArrays(
            group=self.group,
            counts=rows["num_positions"].astype(np.int64),
            fields=decoded(self.fitted, arrays),
            is_partial=self.is_partial,
        )


def decoded(fitted: Fitted, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the losses read of encoded arrays (M, ...), stored or of a live teacher.

    A sparse family gives HEAD_FIELDS; with a sample also `weights`, (M, E, G) at every temperature
    of its grid. Of the lean form with a sample there are `ids` and `weights` (M, E) only.
    """
    signal = fitted.signal
    if not isinstance(signal, SparseSignal):
        states: dict[str, np.ndarray] = codecs.decode(fitted, arrays)
        return states
    if signal.sample:
        ids, weights = sampled_targets(fitted, arrays)
        if signal.form == "lean":
            return {"ids": ids, "weights": weights[..., 0]}
        head = {"logits": head_logits(arrays), "log_tail": arrays["log_tail"]}
        return {"ids": ids, **head, "weights": weights}
    if signal.is_ragged:
        sparse = codecs.decode(fitted, arrays)
        return {name: getattr(sparse, name) for name in HEAD_FIELDS}
    # As they are stored: half the bytes of what decoding gives.
    return {name: arrays[name] for name in HEAD_FIELDS}


def open_anywhere(directory: str, *, kind: str) -> Dataset:
    """Opens a dataset of local or remote storage; see `limbeck.records.remote`."""
    if is_remote(directory):
        return open_remote(directory, kind=kind)
    return open_dataset(directory, kind=kind)


def open_examples(directory: str) -> Dataset:
    """Opens examples, masked or not.

    Raises:
      LimbeckError: nothing usable there, or no rows.
    """
    dataset = open_anywhere(directory, kind="examples")
    if not dataset.num_rows:
        raise UsageError(f"{directory}: the examples have 0 rows")
    return dataset


def open_family(name: str, directory: str, examples: Dataset, *, vocab_size: int) -> Family:
    """Opens one family and checks that it was made from these very examples.

    Raises:
      LimbeckError: not a label family, of other examples, or of another vocabulary.
    """
    dataset = open_anywhere(directory, kind="labels")
    where = f"labels {name!r} ({directory})"
    check_rows_match(examples, dataset)
    family = Family(
        name=name, dataset=dataset, fitted=read_fitted(dataset), is_partial=dataset.is_partial
    )
    theirs = (dataset.content.teacher or {}).get("vocab_size", vocab_size)
    if isinstance(family.signal, SparseSignal) and theirs != vocab_size:
        raise UsageError(
            f"{where}: the teacher's vocabulary has {theirs} ids and the student's {vocab_size}"
        )
    if family.group == "masked" and "mask_positions" not in examples.layout.names:
        raise UsageError(f"{where}: labels masked positions, and {examples.directory} has none")
    first = np.arange(min(SEARCHED_ROWS, examples.num_rows), dtype=np.int64)
    own = dataset.find(first)
    sample = first[own >= 0][:CHECKED_ROWS]
    labels = {name: dataset.read(own[own >= 0][:CHECKED_ROWS])}
    check_rows(examples.read(sample), labels, {name: family}, sample)
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
        covers = family.group == "masked"
        if covers not in digests:
            digests[covers] = _digests(examples, with_positions=covers)
        counted = {
            "masked": examples.get("num_masked"),
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
