"""Examples of every kind, beside the masked pairs of `conftest.Toy`."""

from pathlib import Path
from typing import Any

import numpy as np

from limbeck.records.examples import (
    NO_ANSWER_LABEL,
    NO_CHARACTER,
    NO_TAG,
    ExampleKind,
    kind_layout,
)
from tests.train.conftest import S, Toy, V, example_rows, tokenizer_info, write_dataset

LABELS = ["no", "yes", "perhaps"]


def task_rows(kind: ExampleKind, num_rows: int, *, seed: int, page: int) -> dict[str, np.ndarray]:
    """Unmasked rows with the labels of a kind; every fourth row has none."""
    rng = np.random.default_rng(seed)
    rows = example_rows(num_rows, seed=seed, page=page)
    at, slot = np.nonzero(np.arange(rows["mask_ids"].shape[1]) < rows["num_masked"][:, None])
    rows["ids"][at, rows["mask_positions"][at, slot]] = rows["mask_ids"][at, slot]
    tokens = rows["num_tokens"].astype(np.int64)
    known = np.arange(num_rows) % 4 != 3
    inside = np.arange(S) < tokens[:, None]
    start = np.where(known, 1, 0)
    rows |= {
        "is_random_next": np.where(known, rng.integers(0, 2, num_rows), 255).astype(np.uint8),
        "class_id": np.where(known, rng.integers(0, 3, num_rows), -1).astype(np.int32),
        "class_flags": np.where(known[:, None], rng.integers(0, 2, (num_rows, 3)), 255).astype(
            np.uint8
        ),
        "target": np.where(known, rng.normal(size=num_rows), np.nan).astype(np.float32),
        "tags": np.where(inside & known[:, None], rng.integers(0, 3, (num_rows, S)), NO_TAG).astype(
            np.uint16
        ),
        "span_start": start.astype(np.uint16),
        "span_end": np.where(known, 2, 0).astype(np.uint16),
        "char_starts": np.where(inside, 3 * np.arange(S), NO_CHARACTER).astype(np.uint32),
        "char_ends": np.where(inside, 3 * np.arange(S) + 2, NO_CHARACTER).astype(np.uint32),
        "answerable": np.where(known, 1, NO_ANSWER_LABEL).astype(np.uint8),
    }
    return rows


def write_kind(
    toy: Toy,
    kind: ExampleKind,
    name: str | None = None,
    *,
    num_rows: int = 20,
    seed: int = 1,
    seq_length: int = S,
    num_labels: int = 3,
    **settings: Any,
) -> Path:
    """Writes unmasked examples of a kind; rows are cut to `seq_length` slots."""
    page = 100_000 + 1000 * sum(map(ord, name or kind))
    rows = task_rows(kind, num_rows, seed=seed, page=page)
    layout = kind_layout(kind, seq_length=seq_length, vocab_size=V, num_labels=num_labels)
    rows["class_flags"] = rows["class_flags"][:, :num_labels]
    fits = rows["num_tokens"] <= seq_length
    fields = {}
    for field in layout.fields:
        values = rows[field.name][fits]
        is_per_slot = field.name != "key" and values.shape[1:] == (S,)
        fields[field.name] = values[:, :seq_length] if is_per_slot else values
    return write_dataset(
        toy.root / (name or kind),
        fields,
        kind="examples",
        layout=layout,
        settings={"example_kind": kind, "labels": LABELS[:num_labels], **settings},
        tokenizer=tokenizer_info(),
    )
