"""Tiny datasets of each kind, made the same way in every test."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.records import (
    DIGEST,
    KEY,
    DatasetWriter,
    Field,
    Layout,
    Manifest,
    Provenance,
    document_row,
    documents_layout,
    examples_layout,
    input_digest,
    make_key,
    open_dataset,
    shards_of,
)

SEQ_LENGTH, MAX_PREDICTIONS, VOCAB_SIZE = 8, 3, 100
# Constant, so that manifests are too.
PROVENANCE = Provenance(version="test", command=("make",), paths={"in": "x"}, host="here")
TOKENIZER = {"kind": "wordpiece", "fingerprint": "00" * 32, "vocab_size": VOCAB_SIZE}


def example_rows(num_rows: int, *, seed: int = 0, corpus: str = "test") -> dict[str, np.ndarray]:
    """Valid examples with 3 to 8 tokens."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, SEQ_LENGTH + 1, num_rows)
    slot, place = np.arange(SEQ_LENGTH), np.arange(MAX_PREDICTIONS)
    masked = rng.integers(1, MAX_PREDICTIONS + 1, num_rows).clip(max=tokens)
    real = place < masked[:, None]
    keys = b"".join(make_key(corpus=corpus, page=page) for page in range(num_rows))
    ids = rng.integers(1, VOCAB_SIZE, (num_rows, SEQ_LENGTH)) * (slot < tokens[:, None])
    return {
        "key": np.frombuffer(keys, np.uint8).reshape(-1, 16),
        "ids": ids.astype(np.uint16),
        "num_tokens": tokens.astype(np.uint16),
        "segment_split": rng.integers(1, tokens + 1).astype(np.uint16),
        "mask_positions": np.where(real, place, 0).astype(np.uint16),
        "mask_ids": np.where(real, rng.integers(1, VOCAB_SIZE, real.shape), 0).astype(np.uint16),
        "num_masked": masked.astype(np.uint16),
        "is_random_next": rng.choice([0, 1, 255], num_rows).astype(np.uint8),
    }


def document_rows(num_rows: int) -> list[dict[str, Any]]:
    """Documents with 0 to 3 sentences, not all of them ASCII."""
    return [
        document_row(
            key=make_key(corpus="test", page=page),
            title=f"Page {page} \u00e9\u4e2d",
            sentences=[f"Sentence {i} of {page}." for i in range(page % 4)],
            paragraphs=range(0, page % 4, 2),
            headings=[(f"Heading {page}", 2, page % 4)],
        )
        for page in range(num_rows)
    ]


def examples_writer(directory: Path, *, num_shards: int = 2, **changes: Any) -> DatasetWriter:
    layout = examples_layout(
        seq_length=SEQ_LENGTH, max_predictions=MAX_PREDICTIONS, vocab_size=VOCAB_SIZE
    )
    writer = DatasetWriter(
        str(directory),
        name="train",
        kind="examples",
        layout=layout,
        num_shards=num_shards,
        settings={"rate": 0.15, "grid": (1, 2, 4)},
        parents={"documents": "11" * 32},
        tokenizer=TOKENIZER,
        seed=7,
    )
    return dataclasses.replace(writer, **changes)


def write_shards(
    writer: DatasetWriter, rows: dict[str, np.ndarray], indices: Sequence[int] | None = None
) -> None:
    """Writes fixed rows into their shards, with `num_tokens` as lengths where it is a field."""
    shards = shards_of(rows["key"], writer.num_shards)
    for index in range(writer.num_shards) if indices is None else indices:
        mine = {name: values[shards == index] for name, values in rows.items()}
        masked = mine.get("num_masked", mine.get("num_positions"))
        writer.write_shard(
            index,
            mine,
            lengths=mine.get("num_tokens"),
            labelled_positions=0 if masked is None else int(masked.sum()),
        )


def write_examples(
    directory: Path, num_rows: int = 12, *, num_shards: int = 2, seed: int = 0, **changes: Any
) -> Manifest:
    writer = examples_writer(directory, num_shards=num_shards, **changes)
    writer.open()
    write_shards(writer, example_rows(num_rows, seed=seed))
    return writer.finish(accounting={"in": num_rows, "kept": num_rows}, provenance=PROVENANCE)


def write_labels(directory: Path, examples: Path, *, seed: int = 0) -> Manifest:
    """A family of two float16 numbers a prediction slot, with digests over masked positions."""
    layout = Layout(
        (
            KEY,
            DIGEST,
            Field("num_positions", "uint16"),
            Field("states", "float16", (MAX_PREDICTIONS, 2)),
        )
    )
    with open_dataset(examples) as source:
        rows = source.read(np.arange(source.num_rows))
        writer = DatasetWriter(
            str(directory),
            name="hidden",
            kind="labels",
            layout=layout,
            num_shards=len(source.content.shards),
            settings={"layer": 4},
            parents={"examples": source.id},
            teacher={"fingerprint": "22" * 32},
        )
    rng = np.random.default_rng(seed)
    parts = rows["ids"], rows["num_tokens"], rows["segment_split"]
    shape = (len(rows["key"]), MAX_PREDICTIONS, 2)
    labels = {
        "key": rows["key"],
        "digest": input_digest(*parts, rows["mask_positions"], rows["num_masked"]),
        "num_positions": rows["num_masked"],
        "states": rng.standard_normal(shape).astype(np.float16),
    }
    writer.open()
    write_shards(writer, labels)
    return writer.finish(provenance=PROVENANCE)


def write_documents(directory: Path, num_rows: int = 7, *, num_shards: int = 2) -> Manifest:
    writer = DatasetWriter(
        str(directory),
        name="pages",
        kind="documents",
        layout=documents_layout(),
        num_shards=num_shards,
        settings={},
    )
    writer.open()
    rows = document_rows(num_rows)
    keys = np.frombuffer(b"".join(row["key"] for row in rows), np.uint8).reshape(-1, 16)
    shards = shards_of(keys, num_shards)
    for index in range(num_shards):
        writer.write_shard(index, [rows[i] for i in np.flatnonzero(shards == index)])
    return writer.finish(provenance=PROVENANCE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tools:
    """The functions above, for test modules, which cannot import a conftest."""

    example_rows: Callable[..., dict[str, np.ndarray]]
    document_rows: Callable[..., list[dict[str, Any]]]
    examples_writer: Callable[..., DatasetWriter]
    write_shards: Callable[..., None]
    write_examples: Callable[..., Manifest]
    write_labels: Callable[..., Manifest]
    write_documents: Callable[..., Manifest]
    provenance: Provenance


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools(
        example_rows=example_rows,
        document_rows=document_rows,
        examples_writer=examples_writer,
        write_shards=write_shards,
        write_examples=write_examples,
        write_labels=write_labels,
        write_documents=write_documents,
        provenance=PROVENANCE,
    )


@pytest.fixture(scope="session")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `examples`, `other` (same keys, other text), `labels` and `documents`."""
    root = tmp_path_factory.mktemp("masters")
    write_examples(root / "examples")
    write_examples(root / "other", seed=1)
    write_labels(root / "labels", root / "examples")
    write_documents(root / "documents")
    return root


@pytest.fixture
def copies(masters: Path, tmp_path: Path) -> Iterator[Path]:
    """A private copy of `masters`, to be damaged."""
    root = tmp_path / "data"
    shutil.copytree(masters, root)
    yield root
    os.chmod(root, 0o755)
