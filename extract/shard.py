"""One shard of examples: read, labelled by the teacher batch by batch, checked, back in order."""

# n rows of the shard, B rows of a batch, T padded tokens, P label slots

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from extract.batching import PlannedBatch, plan_batches
from limbeck.config.errors import LimbeckError
from limbeck.labels import HiddenSignal, Signal, SparseSignal, hidden, positions, sparse
from limbeck.records.dataset import Dataset
from limbeck.records.examples import attention_mask, check_examples, segment_ids
from limbeck.records.keys import input_digest, split_key
from limbeck.records.layout import Layout
from limbeck.teachers.protocol import Teacher, TeacherBatch

__all__ = ["ShardInput", "label_shard", "position_counts", "read_shard", "refuse_faults"]

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ShardInput:
    """The rows of one shard and how they are cut into batches."""

    index: int
    """Number of the shard."""
    rows: Arrays
    """Fields of the examples layout, (n, ...)."""
    batches: tuple[PlannedBatch, ...]
    """Every row once."""

    @property
    def num_tokens(self) -> np.ndarray:
        """(n,) real tokens of each row."""
        return self.rows["num_tokens"].astype(np.int64)


def read_shard(
    examples: Dataset,
    index: int,
    *,
    vocab_size: int,
    max_length: int,
    batch_tokens: int,
    length_multiple: int,
) -> ShardInput:
    """Reads and checks the rows of a shard and plans their batches.

    Raises:
      LimbeckError: a damaged record, or one that `check_examples` refuses for this vocabulary.
    """
    start, stop = examples.shard_starts[index : index + 2]
    rows = examples.read(np.arange(start, stop, dtype=np.int64))
    check_examples(rows, vocab_size=vocab_size)
    batches = plan_batches(
        rows["num_tokens"],
        batch_tokens=batch_tokens,
        length_multiple=length_multiple,
        max_length=max_length,
    )
    return ShardInput(index=index, rows=rows, batches=tuple(batches))


def label_shard(
    shard: ShardInput,
    teacher: Teacher,
    *,
    signals: Mapping[str, Signal],
    layouts: Mapping[str, Layout],
    on_batch: Callable[[int], object],
) -> dict[str, Arrays]:
    """Runs the teacher over a shard.

    Args:
      shard: the input.
      teacher: what answers.
      signals: family name -> what is wanted.
      layouts: family name -> layout of its records.
      on_batch: called after each batch with the number of real tokens in it.

    Returns:
      family name -> the fields of its layout, (n, ...), in the order of the examples; zero behind
      a row's last position.
    """
    num_rows = len(shard.num_tokens)
    labels: dict[str, Arrays] = {
        name: {
            field.name: np.zeros((num_rows, *_fixed(field.shape)), field.numpy_dtype)
            for field in layouts[name].fields
        }
        for name in signals
    }
    counts = {name: position_counts(signal, shard.rows) for name, signal in signals.items()}
    for batch in shard.batches:
        answers = teacher.signals(_teacher_batch(shard.rows, batch), signals)
        real = batch.rows[: batch.num_real]
        for name in signals:
            for field, values in answers[name].items():
                if field != "num_positions":
                    _place(labels[name][field], values[: batch.num_real], real, counts[name][real])
        on_batch(int(shard.num_tokens[real].sum()))
    for name, signal in signals.items():
        labels[name]["key"] = shard.rows["key"]
        labels[name]["digest"] = _digest(shard.rows, with_positions=signal.digest_covers_positions)
        labels[name]["num_positions"] = counts[name].astype(np.uint16)
    return labels


def position_counts(signal: Signal, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) int64 labelled positions of each row."""
    if signal.positions == "masked":
        return rows["num_masked"].astype(np.int64)
    if signal.positions == "all":
        return rows["num_tokens"].astype(np.int64)
    return np.ones(len(rows["num_tokens"]), np.int64)


def refuse_faults(
    name: str, signal: Signal, labels: Mapping[str, np.ndarray], *, vocab_size: int
) -> None:
    """Refuses labels that no sound teacher gives, before they are written.

    Raises:
      LimbeckError: naming the family, the record's key, the slot and what is wrong.
    """
    slots = labels["states" if isinstance(signal, HiddenSignal) else "zmax"].shape[1]
    flat = positions.flatten(labels["num_positions"], slots)
    if isinstance(signal, SparseSignal):
        fields = ("zmax", "ids", "logits", "log_tail", "true_logit")
        real = {field: labels[field][flat.rows, flat.slots] for field in fields}
        fault = sparse.find_fault(real, vocab_size=vocab_size)
    else:
        real_states = labels["states"][flat.rows, flat.slots]
        fault = hidden.find_fault(real_states, layer=signal.layer)
    if fault is not None:
        key = labels["key"][flat.rows[fault.position]]
        raise LimbeckError(
            f"family {name}: record {key.tobytes().hex()} ({split_key(key)}), position slot "
            f"{flat.slots[fault.position]}: {fault.reason}; the teacher or its weights are broken"
        )


def _teacher_batch(rows: Mapping[str, np.ndarray], batch: PlannedBatch) -> TeacherBatch:
    """The rows of a batch at its length; fill rows are copies without masked positions."""
    picked = {name: values[batch.rows] for name, values in rows.items()}
    picked["mask_positions"][batch.num_real :] = 0
    tokens, split = picked["num_tokens"], picked["segment_split"]
    # Slots that no row of the batch uses cost the vocabulary head for nothing.
    slots = max(1, int(picked["num_masked"].max()))
    return TeacherBatch(
        ids=picked["ids"][:, : batch.length].astype(np.int32),
        segment_ids=segment_ids(tokens, split, batch.length).astype(np.int32),
        attention_mask=attention_mask(tokens, batch.length).astype(np.int32),
        positions=picked["mask_positions"][:, :slots].astype(np.int32),
        true_ids=picked["mask_ids"][:, :slots].astype(np.int32),
    )


def _place(out: np.ndarray, values: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> None:
    """out[rows] = values, up to each row's count of positions; the rest stays zero."""
    slots = min(values.shape[1], out.shape[1])
    used = np.arange(slots) < counts[:, None]
    where, slot = np.nonzero(used)
    out[rows[where], slot] = values[where, slot]


def _digest(rows: Mapping[str, np.ndarray], *, with_positions: bool) -> np.ndarray:
    selected = (rows["mask_positions"], rows["num_masked"]) if with_positions else ()
    return input_digest(rows["ids"], rows["num_tokens"], rows["segment_split"], *selected)


def _fixed(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n is not None)
