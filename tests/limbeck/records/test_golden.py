"""The bytes of one tiny dataset of each kind, frozen.

A change of these files is a change of the format: it needs another format version, or every dataset
and every label made so far is lost. To write them anew, after such a decision, delete the `.hex`
files, run the test, and put the new ids here.
"""

import hashlib
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
    shards_of,
)

GOLDEN = Path(__file__).parent / "golden"
WIDTH = 64  # hex digits a line
NUM_ROWS, NUM_SHARDS = 4, 2

IDS = {
    "documents": "6551aab60d567dabbe296b5f4b47f235c3bf8afc39c2309db3a0da8a1623b694",
    "examples": "bf8dee3f8f07e14b6e59da8ba85980ed215e1a9dc12352fe8ed8bedc1c617252",
    "labels": "3989a56b8bfc8d930d9f20f62db76d5df687226ec4b6a7fe3f1d6b806b8932a3",
}


def write(directory: Path, rows: list[dict[str, Any]], lengths: list[int] | None, **job: Any):
    """Writes rows with every number spelt out: nothing here may depend on a generator's stream."""
    writer = DatasetWriter(str(directory), num_shards=NUM_SHARDS, **job)
    writer.open()
    keys = np.frombuffer(b"".join(row["key"] for row in rows), np.uint8).reshape(-1, 16)
    shards = shards_of(keys, NUM_SHARDS)
    for index in range(NUM_SHARDS):
        mine = np.flatnonzero(shards == index).tolist()
        writer.write_shard(
            index,
            [rows[i] for i in mine],
            lengths=None if lengths is None else [lengths[i] for i in mine],
            labelled_positions=len(mine),
        )
    provenance = Provenance(version="golden", command=("a", "b"), started="2020-01-01T00:00:00Z")
    return writer.finish(
        accounting={"in": 5, "kept": 4, "filtered": {"x": 1}}, provenance=provenance
    )


def key(page: int) -> bytes:
    return make_key(corpus="golden", page=page, duplicate=page % 2, sequence=page * 1000)


def write_documents(directory: Path) -> Manifest:
    rows = [
        document_row(
            key=key(i),
            title=f"Title {i} \u00e9\u4e2d\U0001f600",
            sentences=["One.", ""][:i],
            paragraphs=[0, 1][:i],
            headings=[("Heading \u00e9", 2, 0), ("", 3, i)][: i % 3],
        )
        for i in range(NUM_ROWS)
    ]
    return write(
        directory,
        rows,
        None,
        name="pages",
        kind="documents",
        layout=documents_layout(),
        settings={},
    )


def example(page: int) -> dict[str, Any]:
    tokens = 3 + page % 3
    return {
        "key": key(page),
        "ids": np.array([(101 + page * 7 + i * 3) * (i < tokens) for i in range(6)], np.uint16),
        "num_tokens": np.uint16(tokens),
        "segment_split": np.uint16(2 + page % 2),
        "mask_positions": np.array([1, 2 * (page % 2)], np.uint16),
        "mask_ids": np.array([7, 300 * (page % 2)], np.uint16),
        "num_masked": np.uint16(1 + page % 2),
        "is_random_next": np.uint8((0, 1, 255)[page % 3]),
    }


def write_examples(directory: Path) -> Manifest:
    rows = [example(i) for i in range(NUM_ROWS)]
    return write(
        directory,
        rows,
        [int(row["num_tokens"]) for row in rows],
        name="train",
        kind="examples",
        layout=examples_layout(seq_length=6, max_predictions=2, vocab_size=400),
        settings={"masking": {"rate": 0.15, "kinds": ("mask", "keep")}, "flag": True},
        parents={"documents": "11" * 32},
        tokenizer={"kind": "wordpiece", "fingerprint": "33" * 32, "vocab_size": 400},
        seed=7,
    )


def label(page: int) -> dict[str, Any]:
    inputs = {name: np.asarray(value)[None] for name, value in example(page).items()}
    parts = [inputs[name] for name in ("ids", "num_tokens", "segment_split")]
    digest = input_digest(*parts, inputs["mask_positions"], inputs["num_masked"])
    return {
        "key": key(page),
        "digest": digest[0],
        "ids": np.array([[page, 2], [65535, 4]], np.uint16),
        "logits": np.array([[0, -page / 8], [-0.0, -np.inf]], np.float16),
        "log_tail": np.array([-page / 3, np.nan], np.float32),
        "count": np.int64(-page),
    }


def write_labels(directory: Path, examples_id: str) -> Manifest:
    layout = Layout(
        (
            KEY,
            DIGEST,
            Field("ids", "uint16", (2, 2)),
            Field("logits", "float16", (2, 2)),
            Field("log_tail", "float32", (2,)),
            Field("count", "int64"),
        )
    )
    return write(
        directory,
        [label(i) for i in range(NUM_ROWS)],
        None,
        name="sparse",
        kind="labels",
        layout=layout,
        settings={"k": 2},
        parents={"examples": examples_id},
        teacher={"fingerprint": "22" * 32},
    )


def as_hex(directory: Path) -> str:
    """All files of a directory: name, size, SHA-256, then the bytes."""
    lines = []
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        digits = data.hex()
        lines.append(f"{path.name} {len(data)} {hashlib.sha256(data).hexdigest()}")
        lines += [f"  {digits[i : i + WIDTH]}" for i in range(0, len(digits), WIDTH)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", ["documents", "examples", "labels"])
def test_bytes_of_a_dataset_never_change(tmp_path, kind):
    if kind == "documents":
        manifest = write_documents(tmp_path / kind)
    elif kind == "examples":
        manifest = write_examples(tmp_path / kind)
    else:
        manifest = write_labels(tmp_path / kind, IDS["examples"])
    found, path = as_hex(tmp_path / kind), GOLDEN / f"{kind}.hex"
    if not path.exists():
        path.write_text(found)
        pytest.fail(f"{path} was missing and is written now; its id is {manifest.id}")
    assert found == path.read_text()
    assert manifest.id == IDS[kind]
